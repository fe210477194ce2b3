-- Head counts on their way in, and which of them stands for its endpoint in which meeting: a part of storing a page, and of
-- a refresh (see refresh.sql for its work tables).

-- name: merge_headcount
-- Head counts into facts; the newest word for the same site, moment and provenance stands.
-- $1 source_id  $2 rooms  $3 moments  $4 caller_ids  $5 provenances  $6 people  $7 notes
with staged as (
  select distinct on (s.room, s.at, s.caller_id, s.provenance) s.room, s.at, s.caller_id, s.provenance, s.people, s.note
  from unnest($2::text[], $3::timestamptz[], $4::integer[], $5::text[], $6::integer[], $7::text[])
    with ordinality s (room, at, caller_id, provenance, people, note, place)
  order by s.room, s.at, s.caller_id, s.provenance, s.place desc
),
merged as (
  insert into conftrack.headcount as h (source_id, room, at, caller_id, provenance, people, note)
  select $1, room, at, caller_id, provenance, people, note from staged
  on conflict (source_id, room, at, caller_id, provenance, sensed) where invitation_id is null do update
  set people = excluded.people, note = excluded.note
  where (h.people, h.note) is distinct from (excluded.people, excluded.note)
  returning h.room, h.at, (xmax = 0) as fresh
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select distinct c.conference_id
  from (select distinct room, at from merged) g
  cross join lateral (
    select m.meeting_id, m.span_to
    from conftrack.meeting m
    where m.source_id = $1 and m.room = g.room and m.span_from <= g.at
    order by m.span_from desc
    limit 1
  ) m
  join conftrack.conference c on c.meeting_id = m.meeting_id
  where m.span_to >= g.at
)
select count(*) filter (where fresh) as inserted, count(*) filter (where not fresh) as updated from merged;

-- name: merge_reading
-- Readings of sensors into their minutes. Of two readings in one second the higher one stands, so neither order nor
-- repetition changes a minute. Meetings that the room was in around a minute that came to another median are derived
-- again; a room is back within five minutes, or it is another presence.
-- $1 caller_ids  $2 moments  $3 people
with reading as (
  select caller_id, date_trunc('minute', at) as minute, floor(extract(second from at))::integer as second,
    max(people) as people
  from unnest($1::integer[], $2::timestamptz[], $3::smallint[]) r (caller_id, at, people)
  group by 1, 2, 3
),
sensor as (
  insert into conftrack.sensor (caller_id) select distinct caller_id from reading order by 1 on conflict do nothing
),
staged as (
  select m.caller_id, m.minute,
    array(select m.people[array_position(m.seconds, s)] from generate_series(0, 59) s order by s) as readings
  from (
    select caller_id, minute, array_agg(second) as seconds, array_agg(people) as people
    from reading
    group by caller_id, minute
  ) m
),
old as (
  select p.caller_id, p.minute, p.people
  from staged s
  join conftrack.people_minute p on p.caller_id = s.caller_id and p.minute = s.minute
),
merged as (
  insert into conftrack.people_minute as p (caller_id, minute, readings)
  select caller_id, minute, readings from staged order by caller_id, minute
  on conflict (caller_id, minute) do update
  set readings = conftrack.merge_readings(p.readings, excluded.readings)
  where p.readings is distinct from conftrack.merge_readings(p.readings, excluded.readings)
  returning p.caller_id, p.minute, p.people, (xmax = 0) as fresh
),
changed as (
  select m.caller_id, m.minute
  from merged m
  left join old o on o.caller_id = m.caller_id and o.minute = m.minute
  where m.people is distinct from o.people
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select distinct l.conference_id
  from changed c
  join conftrack.caller d on d.caller_id = c.caller_id
  cross join lateral (
    select d.caller_id
    union
    select caller_id from conftrack.caller where endpoint_id = d.endpoint_id
  ) k
  cross join lateral (
    select conference_id, left_at
    from conftrack.leg
    where caller_id = k.caller_id and joined_at between c.minute - interval '1 day' and c.minute + interval '5 minutes'
    union all
    select conference_id, left_at
    from conftrack.leg
    where caller_id = k.caller_id and joined_at < c.minute - interval '1 day'
      and (left_at is null or left_at - joined_at > interval '1 day')
  ) l
  where l.left_at is null or l.left_at >= c.minute - interval '5 minutes'
)
select count(*) filter (where fresh) as inserted, count(*) filter (where not fresh) as updated from merged;

-- name: take_sitting
-- What sites typed head counts for, an invitation or a day of a standing one, if it concerns these meetings or did
-- before; each with all meetings that are held on it. Those are derived again too: a head count may move among them. (One
-- that is not held on it any more is marked by convoke.)
-- $1 time zone
with held as not materialized (
  select m.meeting_id, i.invitation_id,
    case when i.starts_at is null then (coalesce(l.joined_at, m.span_from) at time zone $1)::date end as day
  from conftrack.meeting m
  join lateral conftrack.held_on(m) o on true
  join conftrack.invitation i on i.invitation_id = o.invitation_id
  left join lateral (
    select min(joined_at) as joined_at from conftrack.counted_leg where meeting_id = m.meeting_id and i.starts_at is null
  ) l on true
  where exists (select from conftrack.headcount where invitation_id is not null)
    and exists (select from conftrack.headcount h where h.invitation_id = i.invitation_id)
),
concerned as (
  select h.invitation_id, h.day
  from work_meeting w
  join held h on h.meeting_id = w.meeting_id
  union
  select h.invitation_id, h.day
  from work_conference w
  join conftrack.headcount h on h.meeting_id = w.meeting_id and h.invitation_id is not null
),
typed as (
  select c.invitation_id, c.day, i.room, i.source_id,
    coalesce(i.starts_at, (c.day - 1)::timestamp at time zone $1) as since,
    coalesce(i.ends_at, i.starts_at + interval '4 hours', (c.day + 2)::timestamp at time zone $1) as until
  from concerned c
  join conftrack.invitation i on i.invitation_id = c.invitation_id
  where exists (
    select from conftrack.headcount h where h.invitation_id = c.invitation_id and h.day is not distinct from c.day
  )
),
sitting as (
  insert into work_sitting (invitation_id, day, meeting_id)
  select t.invitation_id, t.day, m.meeting_id
  from typed t
  left join lateral (
    select m.meeting_id
    from conftrack.meeting n
    join held m on m.meeting_id = n.meeting_id
    where n.room = t.room and n.source_id = coalesce(t.source_id, n.source_id) and n.span_to >= t.since
      and n.span_from < t.until and m.invitation_id = t.invitation_id and m.day is not distinct from t.day
  ) m on true
  returning invitation_id, day, meeting_id
)
insert into work_meeting (meeting_id)
select meeting_id from sitting where meeting_id is not null
except
select meeting_id from work_meeting;

-- name: has_sensor
select exists (select from conftrack.sensor);

-- name: sense_headcount
-- What sensors saw of each meeting: for an endpoint the highest minute of those that began while it was present (its legs,
-- gaps of up to 5 minutes bridged). Minutes of which nothing is known are not there, so nothing is seen of them.
with device as materialized (
  select s.caller_id, k.identity, coalesce(-k.endpoint_id::bigint, k.caller_id::bigint) as endpoint_key
  from conftrack.sensor s
  join conftrack.caller k on k.caller_id = s.caller_id
),
leg as (
  select l.meeting_id, l.endpoint_key, l.joined_at, coalesce(l.left_at, 'infinity') as left_at, l.leg_id
  from work_meeting w
  join conftrack.counted_leg l on l.meeting_id = w.meeting_id
  where l.endpoint_key in (select endpoint_key from device)
),
parted as (
  select leg.*, joined_at > max(left_at) over (
    partition by meeting_id, endpoint_key order by joined_at, left_at, leg_id
    rows between unbounded preceding and 1 preceding
  ) + interval '5 minutes' as apart
  from leg
),
numbered as (
  select parted.*, count(*) filter (where apart) over (
    partition by meeting_id, endpoint_key order by joined_at, left_at, leg_id
  ) as presence
  from parted
),
present as (
  select meeting_id, endpoint_key, min(joined_at) as since, max(left_at) as until
  from numbered
  group by meeting_id, endpoint_key, presence
),
seen as (
  select distinct on (p.meeting_id, p.endpoint_key) p.meeting_id, m.source_id, m.room, x.minute as at, d.caller_id, x.people
  from present p
  join conftrack.meeting m on m.meeting_id = p.meeting_id
  join device d on d.endpoint_key = p.endpoint_key
  join conftrack.people_minute x on x.caller_id = d.caller_id and x.minute >= p.since and x.minute < p.until
  order by p.meeting_id, p.endpoint_key, x.people desc, x.minute desc, d.identity
),
gone as (
  -- Of the meetings as they were, too: a part that split off is another meeting.
  delete from conftrack.headcount h
  using (select meeting_id from work_conference union select meeting_id from work_meeting) w
  where h.sensed and h.meeting_id = w.meeting_id
    and not exists (
      select from seen s
      where s.source_id = h.source_id and s.room = h.room and s.at = h.at and s.caller_id = h.caller_id
    )
)
insert into conftrack.headcount as h (source_id, room, at, caller_id, provenance, sensed, people, meeting_id)
select source_id, room, at, caller_id, 'people_count', true, people, meeting_id from seen
on conflict (source_id, room, at, caller_id, provenance, sensed) do update
set people = excluded.people, meeting_id = excluded.meeting_id
where (h.people, h.meeting_id) is distinct from (excluded.people, excluded.meeting_id);

-- name: place_headcount
-- Which meeting each head count belongs to, and whether it stands for its endpoint there: the site's own word before
-- the camera's, and that before an import; the camera's highest, and of equals the latest. What a source tells belongs
-- to the meeting of its moment. What a site typed belongs to one meeting that is held on its invitation: the one it is
-- in now, or was in longest.
with near as (
  select source_id, room, min(span_from) as span_from, max(span_to) as span_to
  from (
    select source_id, room, span_from, span_to from work_conference
    union all
    select m.source_id, m.room, m.span_from, m.span_to
    from work_meeting w
    join conftrack.meeting m on m.meeting_id = w.meeting_id
  ) x
  group by source_id, room
),
told as (
  select h.ctid as place, m.meeting_id
  from near n
  join conftrack.headcount h on h.source_id = n.source_id and h.room = n.room and h.at between n.span_from and n.span_to
  left join lateral (
    -- On the edge of two meetings it is the later one's.
    select m.meeting_id, m.span_to
    from conftrack.meeting m
    where m.source_id = h.source_id and m.room = h.room and m.span_from <= h.at
    order by m.span_from desc
    limit 1
  ) m on m.span_to >= h.at
),
presence as (
  select l.meeting_id, l.endpoint_id, bool_or(l.left_at is null) as up, sum(l.left_at - l.joined_at) as lasted
  from (select distinct meeting_id from work_sitting) s
  join conftrack.counted_leg l on l.meeting_id = s.meeting_id
  where l.endpoint_id is not null
  group by l.meeting_id, l.endpoint_id
),
typed as (
  select distinct on (h.ctid) h.ctid as place, s.meeting_id
  from work_sitting s
  join conftrack.headcount h on h.invitation_id = s.invitation_id and h.day is not distinct from s.day
  join conftrack.caller k on k.caller_id = h.caller_id
  left join conftrack.meeting m on m.meeting_id = s.meeting_id
  left join presence p on p.meeting_id = s.meeting_id and p.endpoint_id = k.endpoint_id
  order by h.ctid, p.up desc nulls last, p.lasted desc nulls last, m.span_from, m.source_id
),
found as (
  select * from told
  union all
  select * from typed
  union all
  -- What else was typed for these meetings.
  select h.ctid, h.meeting_id
  from (select meeting_id from told union select meeting_id from typed) t
  join conftrack.headcount h on h.meeting_id = t.meeting_id and h.invitation_id is not null
  where not exists (
    select from work_sitting s where s.invitation_id = h.invitation_id and s.day is not distinct from h.day
  )
),
placed as (
  select f.place, f.meeting_id,
    row_number() over (
      partition by f.meeting_id, coalesce(-k.endpoint_id::bigint, h.caller_id::bigint)
      order by array_position(array['reported', 'people_count', 'imported'], h.provenance),
        case when h.provenance = 'people_count' then h.people end desc nulls last, h.at desc, k.identity, h.sensed
    ) = 1 and f.meeting_id is not null as stands
  from found f
  join conftrack.headcount h on h.ctid = f.place
  join conftrack.caller k on k.caller_id = h.caller_id
)
update conftrack.headcount h
set meeting_id = p.meeting_id, stands = p.stands
from placed p
where h.ctid = p.place and (h.meeting_id, h.stands) is distinct from (p.meeting_id, p.stands);
