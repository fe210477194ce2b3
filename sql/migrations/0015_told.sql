-- A source may tell who belongs to a room: standing invitations of its own. Where it tells others later, those that stood
-- before keep the meetings that had begun.

alter table conftrack.invitation
  add column withdrawn_at timestamptz,
  add constraint invitation_withdrawn_standing check (withdrawn_at is null or starts_at is null);
comment on column conftrack.invitation.withdrawn_at is 'When the source told a standing invitation no more: it is to the meetings that began before.';
create unique index invitation_told_once on conftrack.invitation (source_id, room)
  where origin = 'source' and starts_at is null and withdrawn_at is null;

-- Of several invitations to a room: one to this meeting before a standing one, a list or calendar before what a source
-- tells, one to a room of this source before one to whichever; then the one that begins nearest, and the oldest.
create or replace function conftrack.held_on(m conftrack.meeting)
returns table (invitation_id bigint)
language sql stable
as $$
  select i.invitation_id
  from conftrack.invitation i
  where i.room = m.room and coalesce(i.source_id, m.source_id) = m.source_id
    and (
      (i.starts_at is null and m.span_to > i.known_at and m.span_from < coalesce(i.withdrawn_at, 'infinity'))
      or (i.starts_at < m.span_to and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours'))
    )
  order by i.starts_at is null, i.origin = 'source', i.source_id is null,
    abs(extract(epoch from i.starts_at - m.span_from)), i.invitation_id
  limit 1
$$;
