-- What a page tells besides records: how well legs were, who is registered, and what nobody could see.

-- name: keep_quality
-- The meetings of these legs are judged again; one that is not derived yet will be anyway.
-- $1 source_id  $2 external_ids of legs  $3 moments  $4 levels
with marked as (
  insert into conftrack.dirty_incident (meeting_id)
  select distinct c.meeting_id
  from conftrack.leg l
  join conftrack.conference c on c.conference_id = l.conference_id
  where l.source_id = $1 and l.external_id = any($2::text[]) and c.meeting_id is not null
)
insert into conftrack.quality_change (source_id, external_id, at, level)
select $1, * from unnest($2::text[], $3::timestamptz[], $4::text[])
on conflict (source_id, external_id, at) do update set level = excluded.level;

-- name: keep_blindness
-- $1 source_id  $2 since  $3 until
insert into conftrack.blindness (source_id, since, until) values ($1, $2, $3)
on conflict (source_id, since) do update set until = greatest(conftrack.blindness.until, excluded.until);

-- name: keep_loss
-- What ended since the stream was read, and before what its history begins with now, is lost; if there was anything
-- before, so that it began earlier once. Losses that follow on each other are one.
-- $1 source_id  $2 stream  $3 end of the oldest record that the history has
with reached as (
  select reached_at from conftrack.cursor where source_id = $1 and stream = $2 and reached_at < $3::timestamptz
),
lost as (
  select coalesce(
    (
      select l.since from conftrack.history_loss l
      where l.source_id = $1 and l.since <= r.reached_at and l.until >= r.reached_at
      order by l.since limit 1
    ),
    r.reached_at
  ) as since
  from reached r
  where exists (select from conftrack.leg l where l.source_id = $1 and l.left_at <= r.reached_at)
)
insert into conftrack.history_loss (source_id, since, until)
select $1, since, $3 from lost
on conflict (source_id, since) do update set until = greatest(conftrack.history_loss.until, excluded.until);

-- name: mark_unseen
-- The meetings and invitations that lie in what was lost last, and was seen by nobody, are judged again.
-- $1 source_id
with lost as (
  select u.source_id, u.since, u.until
  from conftrack.unseen u
  where u.source_id = $1 and exists (select from conftrack.history_loss l where l.source_id = $1)
  order by u.until desc
  limit 1
)
insert into conftrack.dirty_incident (meeting_id, invitation_id)
select m.meeting_id, null::bigint
from lost u
join conftrack.meeting m on m.source_id = u.source_id and m.span_from < u.until and m.span_to >= u.since
union all
select null, i.invitation_id
from lost u
join conftrack.invitation i on i.starts_at < u.until and coalesce(i.ends_at, i.starts_at + interval '4 hours') > u.since
  and (i.source_id is null or i.source_id = u.source_id);

-- name: keep_registration
-- A list of who is registered was read. The endpoints of those that were missed, or are back, are judged again.
-- $1 source_id  $2 moment  $3 aliases that are registered now  $4 aliases that no longer are
with gone as (
  update conftrack.registration set until = $2
  where source_id = $1 and alias = any($4::text[]) and until is null and since < $2
  returning alias
),
come as (
  insert into conftrack.registration (source_id, alias, since)
  select $1, x.alias, $2
  from unnest($3::text[]) x (alias)
  where not exists (
    select from conftrack.registration r where r.source_id = $1 and r.alias = x.alias and r.until is null
  )
  on conflict do nothing
  returning alias
),
marked as (
  insert into conftrack.dirty_incident (endpoint_id)
  select a.endpoint_id from gone g join conftrack.alias a on a.alias = g.alias
  union
  select a.endpoint_id
  from come c
  join conftrack.alias a on a.alias = c.alias
  where exists (select from conftrack.endpoint_registration e where e.endpoint_id = a.endpoint_id)
)
insert into conftrack.registrar as g (source_id, read_at) values ($1, $2)
on conflict (source_id) do update set read_at = greatest(g.read_at, excluded.read_at);
