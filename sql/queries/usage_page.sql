-- What the usage page reads: the public views alone, which Grafana and reports read too. source null: all; org null: all.

-- name: list_month_usage
-- $1 source, or null  $2 org, or null  $3 first month  $4 last month
select month as first, meetings, endpoints, endpoint_connections, legs, attendees, meeting_seconds, leg_seconds, peak_legs,
  failed_connections, incidents
from conftrack.usage_monthly
where source is not distinct from $1 and org is not distinct from $2 and month between $3 and $4;

-- name: list_day_usage
-- $1 source, or null  $2 org, or null  $3 first day  $4 first day after
select day as first, meetings, endpoints, endpoint_connections, legs, attendees, meeting_seconds, leg_seconds, peak_legs,
  failed_connections, incidents
from conftrack.usage_daily
where source is not distinct from $1 and org is not distinct from $2 and day >= $3 and day < $4;

-- name: list_unit_usage
-- The month of each of these units; who had nothing is not in it.
-- $1 source, or null  $2 orgs  $3 month
select org, endpoint_connections, attendees
from conftrack.usage_monthly
where source is not distinct from $1 and org = any($2::text[]) and month = $3;

-- name: find_first_day
-- The local day of the first meeting that is known: what was before was not seen.
-- $1 source, or null
select m.day
from conftrack.meeting m
where m.started_at is not null
  and ($1::text is null or m.source_id = (select source_id from conftrack.source where name = $1))
order by m.day
limit 1;

-- name: list_known_source
select distinct source from conftrack.source_status order by source;

-- name: list_meeting_start
-- $1 source, or null  $2 first day  $3 first day after
select meeting_id, started_at
from conftrack.meetings
where ($1::text is null or source = $1) and day >= $2 and day < $3;

-- name: list_part_of_meeting
-- The people of these meetings by where their number comes from. (First all of them: the view is fast by meeting alone.)
-- $1 meeting_ids  $2 orgs, or null: of all
with connection as materialized (
  select meeting_id, org, provenance, attendees
  from conftrack.endpoint_connections
  where meeting_id = any($1::bigint[])
)
select meeting_id, provenance, sum(attendees)::bigint as people
from connection
where $2::text[] is null or org = any($2)
group by meeting_id, provenance;

-- name: count_incident_kind
-- As usage_monthly counts them: an outage is not counted beside the incidents in it.
-- $1 source, or null  $2 orgs, or null: of all  $3 first day  $4 first day after
select kind, count(*) as incidents
from conftrack.incidents
where kind <> 'outage' and ($1::text is null or source = $1) and ($2::text[] is null or org = any($2))
  and day >= $3 and day < $4
group by kind;
