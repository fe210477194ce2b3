-- What the pages read. A page asks for a handful of numbers first and then for all that stands under them, so that
-- nothing of this grows with the years behind.

-- name: list_unit_of_tree
-- The organisation tree as it is now, or was last.
select distinct on (code) code, name, parent, level
from conftrack.org_units
order by code, valid_to desc nulls first;

-- name: list_last_left
-- When these endpoints last left a meeting; who never was in one is not in it.
-- $1 codes
select e.code, max(l.left_at) as left_at
from conftrack.endpoint e
join conftrack.caller k on k.endpoint_id = e.endpoint_id
cross join lateral (
  select l.left_at
  from conftrack.leg l
  where l.caller_id = k.caller_id and l.joined_at is not null and l.excluded is null
  order by l.joined_at desc
  limit 1
) l
where e.code = any($1::text[]) and l.left_at is not null
group by e.code;

-- name: find_site
-- With its contact, which no public view has.
-- $1 code
select v.endpoint as code, v.name, v.org, u.name as org_name, v.kind, v.seats, v.carrier, v.area, v.service_hours, v.aliases,
  v.retired_on, e.contact_name, e.contact_phone
from conftrack.endpoints v
join conftrack.endpoint e on e.code = v.endpoint
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
where v.endpoint = $1;

-- name: find_site_meeting
-- $1 code  $2 first day  $3 first day after
select distinct m.meeting_id
from conftrack.endpoint e
join conftrack.caller k on k.endpoint_id = e.endpoint_id
join conftrack.leg l on l.caller_id = k.caller_id
join conftrack.conference c on c.conference_id = l.conference_id
join conftrack.meeting m on m.meeting_id = c.meeting_id
where e.code = $1 and l.excluded is null and not l.copy and m.started_at is not null and m.day >= $2 and m.day < $3;

-- name: list_site_meeting
-- One endpoint's presence in each of these meetings, the newest first; joined_at null: it only tried.
-- $1 code  $2 meeting_ids
select m.meeting_id, m.source, m.room, m.title, m.started_at, m.ended_at, c.joined_at, c.left_at, c.presence_seconds,
  c.attended, c.attendees, c.provenance
from conftrack.meetings m
left join (
  select meeting_id, joined_at, left_at, presence_seconds, attended, attendees, provenance
  from conftrack.endpoint_connections
  where meeting_id = any($2::bigint[]) and endpoint = $1
) c on c.meeting_id = m.meeting_id
where m.meeting_id = any($2::bigint[])
order by m.started_at desc, m.meeting_id;

-- name: list_leg
-- Connections of people and their attempts in these meetings, in the order in which they began.
-- $1 meeting_ids  $2 code of an endpoint, or null: of all
select v.leg_id, v.meeting_id, v.endpoint, v.identity, e.name, v.protocol, v.direction, v.joined_at, v.left_at, v.end_class,
  v.end_reason, v.rx_bitrate, v.tx_bitrate, v.rx_loss, v.tx_loss, v.jitter_seconds
from conftrack.legs v
left join conftrack.endpoint e on e.code = v.endpoint
where v.leg_id in (
    select l.leg_id
    from conftrack.conference c
    join conftrack.leg l on l.conference_id = c.conference_id
    where c.meeting_id = any($1::bigint[])
  )
  and v.excluded is null and not v.copy and ($2::text is null or v.endpoint = $2)
order by coalesce(v.joined_at, v.left_at), v.leg_id;

-- name: find_meeting
-- $1 meeting_id
select meeting_id, source, room, title, scheduled_start, started_at, ended_at, duration_seconds,
  endpoint_count, leg_count, attendees
from conftrack.meetings
where meeting_id = $1;

-- name: find_meeting_of_room
-- The newest of a room.
-- $1 source name  $2 room
select m.meeting_id
from conftrack.source s
join conftrack.meeting m on m.source_id = s.source_id
where s.name = $1 and m.room = $2 and m.started_at is not null
order by m.span_from desc, m.meeting_id desc
limit 1;

-- name: list_provenance
-- The people of a meeting by where their number comes from.
-- $1 meeting_id
select provenance, sum(attendees)::bigint as people, count(*) as endpoints
from conftrack.endpoint_connections
where meeting_id = $1
group by provenance;

-- name: list_headcount
-- $1 meeting_id
select a.endpoint, e.name, a.identity, a.people, a.provenance, a.at, a.note
from conftrack.attendance a
left join conftrack.endpoint e on e.code = a.endpoint
where a.meeting_id = $1 and a.stands
order by a.people desc, a.endpoint, a.identity;

-- name: find_running
-- Invitations to meetings that go on or should: to one meeting by itself, standing ones with each meeting that goes on.
-- One without an end is taken to last four hours; a meeting that is over misses nobody any more.
-- $1 moment that is now
select i.invitation_id, m.meeting_id
from (
  select i.invitation_id, case when i.starts_at is null then m.meeting_id end as meeting_id,
    min(coalesce(i.starts_at, m.started_at)) as starts_at
  from conftrack.invitation i
  left join conftrack.meeting m on m.invitation_id = i.invitation_id and m.started_at is not null
  where (m.meeting_id is not null and m.ended_at is null)
    or (m.meeting_id is null and coalesce(i.ends_at, i.starts_at + interval '4 hours') > $1)
  group by 1, 2
) m
join conftrack.invitation i on i.invitation_id = m.invitation_id
where m.starts_at <= $1
order by m.starts_at, i.invitation_id, m.meeting_id;

-- name: find_open_incident
-- With the outage that each is part of; the newest first.
select incident_id, parent_id
from conftrack.incidents
where closed_at is null
order by opened_at desc, incident_id desc;

-- name: find_closed_incident
-- Those that are part of no outage, the newest first.
-- $1 how many at most  $2 how many are left out before
select incident_id
from conftrack.incidents
where closed_at is not null and parent_id is null
order by opened_at desc, incident_id desc
limit $1 offset $2;

-- name: count_closed_incident
select count(*) from conftrack.incidents where closed_at is not null and parent_id is null;

-- name: find_child_incident
-- $1 incident_ids of outages
select incident_id from conftrack.incidents where parent_id = any($1::bigint[]) order by incident_id;

-- name: find_meeting_incident
-- $1 meeting_id
select incident_id from conftrack.incidents where meeting_id = $1 order by opened_at, incident_id;

-- name: find_site_incident
-- Those of an endpoint that have a part in a period.
-- $1 code  $2 since  $3 until
with mine as (
  select i.incident_id
  from conftrack.endpoint e
  join conftrack.incident i on i.endpoint_id = e.endpoint_id
  where e.code = $1
  union
  select i.incident_id
  from conftrack.endpoint e
  join conftrack.caller k on k.endpoint_id = e.endpoint_id
  join conftrack.incident i on i.caller_id = k.caller_id
  where e.code = $1
)
select v.incident_id
from conftrack.incidents v
join mine on mine.incident_id = v.incident_id
where v.kind <> 'outage' and v.opened_at < $3 and (v.closed_at is null or v.closed_at > $2)
order by v.opened_at desc, v.incident_id desc;

-- name: list_incident
-- $1 incident_ids
select i.incident_id, i.kind, i.source, i.endpoint, e.name, e.contact_name, e.contact_phone, i.identity, i.org,
  u.name as org_name, i.carrier, i.area,
  i.meeting_id, coalesce(m.title, n.title) as title, coalesce(m.room, n.room) as room, i.end_class, i.end_reason, i.opened_at,
  i.closed_at, i.parent_id, i.owner, i.acknowledged_at, i.acknowledged_by
from conftrack.incidents i
left join conftrack.endpoint e on e.code = i.endpoint
left join conftrack.org_unit u on u.code = i.org
left join conftrack.meetings m on m.meeting_id = i.meeting_id
left join conftrack.invitation n on n.invitation_id = i.invitation_id
where i.incident_id = any($1::bigint[]);

-- name: list_note
-- $1 incident_ids
select incident_id, at, author, text from conftrack.incident_note where incident_id = any($1::bigint[]) order by at, note_id;

-- name: list_unseen
-- When each of these sources could not be seen and no history told later, and up to when it was seen (until null). One
-- that never was seen is not in it: before a system is first read nobody expects to know it.
-- $1 source names
select s.name as source, h.seen_until as since, null::timestamptz as until, h.seen_until as last_seen
from conftrack.source s
join conftrack.seen_until h on h.source_id = s.source_id
where s.name = any($1::text[])
union all
select s.name, u.since, u.until, u.last_seen
from conftrack.unseen u
join conftrack.source s on s.source_id = u.source_id
where s.name = any($1::text[]);

-- name: find_first_meeting
-- When the first meeting that is known began: what was before was not seen.
select min(started_at) from conftrack.meeting;
