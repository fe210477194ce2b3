-- What the collector, the pages and the commands ask of the database.

-- name: register_source
-- Writes nothing where it is known. unlearned: the planner has never heard how many sources there are.
-- $1 name  $2 kind
with known as (
  select source_id from conftrack.source where name = $1 and kind = $2
),
added as (
  insert into conftrack.source as s (name, kind)
  select $1, $2 where not exists (select from known)
  on conflict (name) do update set kind = excluded.kind
  returning source_id
)
select x.source_id, c.reltuples < 1 as unlearned
from (select source_id from known union all select source_id from added) x
cross join pg_class c
where c.oid = 'conftrack.source'::regclass;

-- name: learn_sources
-- Nothing else ever would: for autovacuum a few rows are too few. Taken for hundreds, they make every query that joins
-- them prepare for millions of rows.
analyze conftrack.source;

-- name: get_setting
-- $1 name
select value from conftrack.setting where name = $1;

-- name: put_setting
-- $1 name  $2 value
insert into conftrack.setting (name, value) values ($1, $2)
on conflict (name) do update set value = excluded.value;

-- name: put_setting_once
-- The value that stands, whoever wrote it first, even at this moment.
-- $1 name  $2 value
with known as (
  select value from conftrack.setting where name = $1
),
added as (
  insert into conftrack.setting as s (name, value)
  select $1, $2 where not exists (select from known)
  on conflict (name) do update set value = s.value
  returning value
)
select value from known union all select value from added;

-- name: get_cursor
-- $1 source_id  $2 stream
select reached_at, last_success_at from conftrack.cursor where source_id = $1 and stream = $2;

-- name: get_backfill
-- $1 source_id  $2 stream  $3 since  $4 until
select reached_at from conftrack.backfill where source_id = $1 and stream = $2 and since = $3 and until = $4;

-- name: end_backfill
-- $1 source_id  $2 stream  $3 since  $4 until
delete from conftrack.backfill where source_id = $1 and stream = $2 and since = $3 and until = $4;

-- name: list_open_conference
-- $1 source_id
select external_id, room, title, started_at, sensitive from conftrack.conference
where source_id = $1 and ended_at is null and listed;

-- name: list_open_leg
-- A name is a pseudonym by now, which is nothing to show and not to be replaced again: a person has none here.
-- $1 source_id
select l.external_id, c.room, case when c.external_id not like '~%' then c.external_id end as meeting,
  case when not k.personal then k.identity end as identity, coalesce(k.personal, false) as personal, l.protocol,
  l.direction, l.joined_at, l.excluded
from conftrack.leg l
join conftrack.conference c on c.conference_id = l.conference_id
left join conftrack.caller k on k.caller_id = l.caller_id
where l.source_id = $1 and l.left_at is null;

-- name: list_open_quality
-- $1 source_id
select l.external_id, q.level
from conftrack.leg l
cross join lateral (
  select q.level from conftrack.quality_change q
  where q.source_id = l.source_id and q.external_id = l.external_id
  order by q.at desc
  limit 1
) q
where l.source_id = $1 and l.left_at is null;

-- name: list_open_registration
-- $1 source_id
select alias from conftrack.registration where source_id = $1 and until is null;

-- name: list_rejected
-- $1 source name or null
select r.rejected_id, s.name as source, r.source_id, r.stream, r.external_id, r.position, r.raw, r.error, r.first_seen_at
from conftrack.rejected r
join conftrack.source s on s.source_id = r.source_id
where $1::text is null or s.name = $1
order by r.rejected_id;

-- name: drop_rejected
-- $1 rejected_id
delete from conftrack.rejected where rejected_id = $1;

-- name: update_rejected
-- $1 rejected_id  $2 error
update conftrack.rejected set error = $2 where rejected_id = $1;

-- name: list_total
-- What the counters of each source stand at, from the usage of all its months.
select s.name as source, coalesce(sum(u.meetings), 0)::bigint as meetings, coalesce(sum(u.legs), 0)::bigint as legs,
  coalesce(sum(u.leg_seconds), 0)::double precision as leg_seconds, coalesce(sum(u.attendees), 0)::bigint as attendees
from conftrack.source s
left join conftrack.usage_month u on u.source_id = s.source_id and u.org_unit_id is null
group by s.name
order by s.name;

-- name: list_duration
-- How long ended meetings took, by source and bucket: how many of the bounds (seconds) they exceed.
-- $1 bounds, ascending
select s.name as source, b.bucket, count(*) as meetings, sum(b.seconds)::double precision as seconds
from (
  select m.source_id, e.seconds, (select count(*) from unnest($1::double precision[]) x where x < e.seconds) as bucket
  from conftrack.meeting m
  cross join lateral (select extract(epoch from m.ended_at - m.started_at)::double precision as seconds) e
  where m.ended_at is not null
) b
join conftrack.source s on s.source_id = b.source_id
group by s.name, b.bucket;

-- name: list_site
select e.code, u.code as org, e.name, u.name as org_name, e.carrier, e.area,
  array(select a.alias from conftrack.alias a where a.endpoint_id = e.endpoint_id) as aliases
from conftrack.endpoint e
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
where e.retired_on is null
order by e.code;

-- name: list_status
select source, kind, stream, cursor_at, last_success_at, last_error, source_total, stored_total, rejected
from conftrack.source_status
order by source, stream;

-- name: find_lease
-- Who holds the lease of a source.
-- $1 source_id
select a.application_name, a.pid
from pg_locks l
join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 2
  and l.classid = (hashtext('conftrack lease')::bigint & 4294967295)::oid and l.objid = $1::integer::oid
  and l.database = (select oid from pg_database where datname = current_database());

-- name: try_lease
-- $1 source_id
select pg_try_advisory_lock(hashtext('conftrack lease'), $1::integer);

-- name: release_lease
-- $1 source_id
select pg_advisory_unlock(hashtext('conftrack lease'), $1::integer);
