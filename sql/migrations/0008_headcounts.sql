-- Head counts that sites type themselves: they belong to an invitation, whenever its meeting is held.

alter table conftrack.headcount
  drop constraint headcount_pkey,
  alter column source_id drop not null,
  alter column room drop not null,
  add column invitation_id bigint references conftrack.invitation on delete cascade,
  add column day date,
  add constraint headcount_of_a_room_or_an_invitation check (num_nonnulls(invitation_id, room) = 1),
  add constraint headcount_of_a_room_has_a_source check ((room is null) = (source_id is null)),
  add constraint headcount_day_is_of_an_invitation check (day is null or invitation_id is not null);
create unique index headcount_told_once on conftrack.headcount (source_id, room, at, caller_id, provenance)
where invitation_id is null;
create unique index headcount_typed_once on conftrack.headcount (invitation_id, day, caller_id) nulls not distinct
where invitation_id is not null;
create index headcount_typed_of_meeting on conftrack.headcount (meeting_id) where invitation_id is not null;
comment on table conftrack.headcount is 'People present at an endpoint in a meeting (đại biểu), with where the number comes from. Told by a source, of a moment in a room; or typed by the site (at: when), for an invitation: day null: to one meeting, else that local day of a standing one. Derived: the meeting, and whether it is the one that stands for the endpoint in it.';

create table conftrack.headcount_change (
  change_id bigint generated always as identity primary key,
  at timestamptz not null,
  uid text not null,
  day date,
  endpoint_id integer not null references conftrack.endpoint,
  before integer,
  after integer not null
);
comment on table conftrack.headcount_change is 'Every number that a site typed, with the one that stood before (null: none); uid: the invitation, day as in headcount. Neither who typed it nor from where is kept: a link is of a site, not of a person.';
create index headcount_change_of_endpoint on conftrack.headcount_change (endpoint_id, at);

-- The invitation that a meeting is held on: one to this moment of its room before a standing one, one to this source
-- before one to any. A meeting that ended before the start was a rehearsal, and is held on none but a standing one.
create function conftrack.held_on(m conftrack.meeting)
returns table (invitation_id bigint)
language sql stable
as $$
  select i.invitation_id
  from conftrack.invitation i
  where i.room = m.room and coalesce(i.source_id, m.source_id) = m.source_id
    and (
      (i.starts_at is null and m.span_to > i.known_at)
      or (i.starts_at < m.span_to and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours'))
    )
  order by i.starts_at is null, i.source_id is null, abs(extract(epoch from i.starts_at - m.span_from)), i.invitation_id
  limit 1
$$;
comment on function conftrack.held_on is 'The invitation that a meeting is held on, none or one.';

create or replace view conftrack.attendance as
select
  m.meeting_id,
  s.name as source,
  e.code as endpoint,
  u.code as org,
  k.identity,
  h.people,
  h.provenance,
  h.at,
  h.note,
  h.stands
from conftrack.headcount h
join conftrack.caller k on k.caller_id = h.caller_id
left join conftrack.endpoint e on e.endpoint_id = k.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join conftrack.meeting m on m.meeting_id = h.meeting_id and m.started_at is not null
left join conftrack.source s on s.source_id = coalesce(h.source_id, m.source_id);
