-- How facts become meetings: take the conferences that are dirty and derive again what they are in. One transaction,
-- one at a time, and no page comes in meanwhile.

-- name: create_work
-- The tables a refresh works in; empty after each transaction.
create temp table if not exists work_conference (
  conference_id bigint,
  source_id smallint,
  external_id text collate "C",
  room text,
  alone boolean,
  meeting_id bigint,
  span_from timestamptz,
  span_to timestamptz,
  island bigint
) on commit delete rows;
create temp table if not exists work_meeting (
  meeting_id bigint,
  source_id smallint,
  room text,
  span_from timestamptz,
  span_to timestamptz,
  kept boolean
) on commit delete rows;
create temp table if not exists work_sitting (
  invitation_id bigint,
  day date,
  meeting_id bigint
) on commit delete rows;

-- name: lock_meetings
-- Pages hold this lock shared (begin_page), so no page is half seen and no mark of one is lost.
select
  pg_advisory_xact_lock(hashtext('conftrack refresh')),
  set_config('work_mem', '128MB', true),  -- a bulk load is sorted and hashed in memory
  set_config('default_statistics_target', '10', true);  -- a rough idea of the work tables is enough

-- name: count_dirty
select (select count(*) from conftrack.dirty_conference) + (select count(*) from conftrack.dirty_day);

-- name: take_dirty_conference
-- The dirty conferences with the time each spans: its record and its legs. An open one has no end yet.
with taken as (
  delete from conftrack.dirty_conference returning conference_id
),
dirty as (
  select distinct conference_id from taken
),
orphan as (
  -- Stand-ins whose leg has since found its conference (one that was in no meeting may be still waiting for its leg).
  delete from conftrack.conference c
  using dirty d
  where c.conference_id = d.conference_id and c.external_id like '~%' and c.meeting_id is not null
    and not exists (select from conftrack.leg l where l.conference_id = c.conference_id)
  returning c.conference_id, c.source_id, c.external_id, c.room, c.meeting_id, c.span_from, c.span_to
)
insert into work_conference (conference_id, source_id, external_id, room, alone, meeting_id, span_from, span_to)
select c.conference_id, c.source_id, c.external_id, c.room, c.external_id like '~%', c.meeting_id,
  least(c.started_at, l.first_at, c.ended_at),
  case
    when c.ended_at is not null then greatest(c.ended_at, l.last_at, c.started_at)
    when c.listed or l.open then 'infinity'
    else l.last_at
  end
from dirty d
join conftrack.conference c on c.conference_id = d.conference_id
left join lateral (
  select min(coalesce(joined_at, left_at)) as first_at, max(greatest(left_at, joined_at)) as last_at,
    bool_or(left_at is null) as open
  from conftrack.leg
  where conference_id = c.conference_id
) l on true
where c.conference_id not in (select conference_id from orphan)
union all
-- An orphan is in no island; it is here so that the meeting it was in is derived again.
select null, o.source_id, o.external_id, o.room, true, o.meeting_id, o.span_from, o.span_to from orphan o;

-- name: learn_sizes
-- After a bulk load the planner must hear of it, or it joins as if the tables were small.
analyze conftrack.conference, conftrack.leg, conftrack.caller, conftrack.headcount, conftrack.endpoint, conftrack.org_unit;

-- name: take_neighbour
-- Every meeting that a dirty conference was in or now comes near, with all its other conferences. Five minutes is
-- how far apart two lone legs of one room may be and still be one meeting.
with near as (
  select meeting_id from work_conference
  union
  select m.meeting_id
  from work_conference w
  cross join lateral (
    select m.meeting_id, m.span_to
    from conftrack.meeting m
    where m.source_id = w.source_id and m.room = w.room
      and m.span_from between w.span_from - interval '5 minutes' and w.span_to + interval '5 minutes'
    union all
    -- The meetings of a room are apart in time: of those that began before, only the last can reach so far.
    (
      select m.meeting_id, m.span_to
      from conftrack.meeting m
      where m.source_id = w.source_id and m.room = w.room and m.span_from < w.span_from - interval '5 minutes'
      order by m.span_from desc
      limit 1
    )
  ) m
  where m.span_to >= w.span_from - interval '5 minutes'
),
touched as (
  insert into work_meeting (meeting_id, source_id, room, span_from, span_to, kept)
  select m.meeting_id, m.source_id, m.room, m.span_from, m.span_to, false
  from near
  join conftrack.meeting m on m.meeting_id = near.meeting_id
  returning meeting_id, source_id, room, span_from, span_to
)
insert into work_conference (conference_id, source_id, external_id, room, alone, meeting_id, span_from, span_to)
select c.conference_id, c.source_id, c.external_id, c.room, c.external_id like '~%', c.meeting_id, c.span_from, c.span_to
from touched t
join conftrack.conference c on c.meeting_id = t.meeting_id
where not exists (select from work_conference w where w.conference_id = c.conference_id)
union all
-- Where the meeting was: head counts there find their place again.
select null, t.source_id, null, t.room, true, t.meeting_id, t.span_from, t.span_to from touched t;

-- name: mark_days_before
-- The days of the meetings as they were.
insert into conftrack.dirty_day (day)
select distinct m.day
from work_meeting w
join conftrack.meeting m on m.meeting_id = w.meeting_id
where m.day is not null;

-- name: mark_incidents
-- The meetings that are derived again, as they were and as they are.
insert into conftrack.dirty_incident (meeting_id) select meeting_id from work_meeting;

-- name: find_islands
-- Islands in time: lone legs within five minutes of each other first, then whatever overlaps; to touch is not to
-- overlap. An attempt is a moment; it is given a microsecond so that it can overlap at all.
with ordered_alone as (
  select conference_id, source_id, room, span_from, span_to, external_id,
    span_from > max(span_to) over (
      partition by source_id, room order by span_from, span_to, external_id
      rows between unbounded preceding and 1 preceding
    ) + interval '5 minutes' as apart
  from work_conference
  where alone and conference_id is not null and span_from is not null
),
alone as (
  select o.*, count(*) filter (where apart) over (
    partition by source_id, room order by span_from, span_to, external_id
  ) as cluster
  from ordered_alone o
),
unit as (
  select source_id, room, 'a' || cluster as unit, min(span_from) as span_from, max(span_to) as span_to,
    array_agg(conference_id) as conference_ids
  from alone
  group by source_id, room, cluster
  union all
  select source_id, room, 'c' || external_id, span_from, span_to, array[conference_id]
  from work_conference
  where not alone and span_from is not null
),
widened as (
  select source_id, room, unit, conference_ids, span_from,
    case when span_from = span_to then span_to + interval '1 microsecond' else span_to end as span_to
  from unit
),
ordered as (
  select w.*,
    coalesce(span_from >= max(span_to) over (
      partition by source_id, room order by span_from, span_to, unit
      rows between unbounded preceding and 1 preceding
    ), true) as first
  from widened w
),
island as (
  select o.*, count(*) filter (where first) over (order by source_id, room, span_from, span_to, unit) as island
  from ordered o
)
update work_conference w
set island = i.island
from island i, unnest(i.conference_ids) x (conference_id)
where w.conference_id = x.conference_id;

-- name: assign_meeting
-- Each island keeps the oldest meeting it holds (of a meeting that split, the earliest part keeps it); others are new.
with island as (
  select island, source_id, room, min(span_from) as span_from, max(span_to) as span_to
  from work_conference
  where island is not null
  group by island, source_id, room
),
claim as (
  select w.meeting_id, w.island, row_number() over (partition by w.meeting_id order by i.span_from, w.island) as place
  from (select distinct meeting_id, island from work_conference where meeting_id is not null and island is not null) w
  join island i on i.island = w.island
),
kept as (
  select island, min(meeting_id) as old_id from claim where place = 1 group by island
),
chosen as (
  select i.*, k.old_id from island i left join kept k on k.island = i.island
),
numbered as (
  select c.*, coalesce(c.old_id, nextval('conftrack.meeting_meeting_id_seq')) as new_id
  from chosen c
),
gone as (
  delete from conftrack.meeting m
  using work_meeting w
  where m.meeting_id = w.meeting_id and not exists (select from numbered n where n.new_id = m.meeting_id)
),
stored as (
  insert into conftrack.meeting as m (meeting_id, source_id, room, span_from, span_to)
  select new_id, source_id, room, span_from, span_to from numbered
  on conflict (meeting_id) do update
  set span_from = excluded.span_from, span_to = excluded.span_to, room = excluded.room
),
linked as (
  -- One in no island (its legs found their conference elsewhere) is in no meeting either.
  update conftrack.conference c
  set meeting_id = n.new_id, span_from = w.span_from, span_to = w.span_to
  from work_conference w
  left join numbered n on n.island = w.island
  where c.conference_id = w.conference_id
    and (c.meeting_id, c.span_from, c.span_to) is distinct from (n.new_id, w.span_from, w.span_to)
),
emptied as (
  delete from work_meeting
)
select count(*) from numbered;

-- name: take_meeting
insert into work_meeting (meeting_id)
select distinct c.meeting_id
from work_conference w
join conftrack.conference c on c.conference_id = w.conference_id
where c.meeting_id is not null;

-- name: hush_meeting
-- Of a sensitive meeting no title is kept and nobody but endpoints of the inventory: it is one if any of its conferences
-- is, or an invitation to its room at that time. For what was told before it was known to be one.
with hushed as (
  select w.meeting_id
  from work_meeting w
  join conftrack.meeting m on m.meeting_id = w.meeting_id
  where exists (select from conftrack.conference c where c.meeting_id = w.meeting_id and c.sensitive)
    or exists (
      select from conftrack.invitation i
      where i.sensitive and i.room = m.room and m.source_id = coalesce(i.source_id, m.source_id)
        and (
          i.starts_at is null
          or (i.starts_at < m.span_to and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours'))
        )
    )
),
untitled as (
  update conftrack.conference c
  set sensitive = true, title = null
  from hushed h
  where c.meeting_id = h.meeting_id and (not c.sensitive or c.title is not null)
),
uninvited as (
  update conftrack.invitation i
  set sensitive = true, title = null
  from hushed h
  join conftrack.meeting m on m.meeting_id = h.meeting_id
  where i.room = m.room and m.source_id = coalesce(i.source_id, m.source_id) and not i.sensitive
    and i.starts_at < m.span_to and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours')
),
unnoted as (
  update conftrack.headcount n
  set note = null
  from hushed h
  join conftrack.meeting m on m.meeting_id = h.meeting_id
  where n.source_id = m.source_id and n.room = m.room and n.at between m.span_from and m.span_to and n.note is not null
),
untyped as (
  update conftrack.headcount n
  set note = null
  from hushed h
  join conftrack.meeting m on m.meeting_id = h.meeting_id
  cross join lateral conftrack.held_on(m) o
  where n.invitation_id = o.invitation_id and n.note is not null
),
unnamed as (
  update conftrack.leg l
  set caller_id = null
  from hushed h
  join conftrack.conference c on c.meeting_id = h.meeting_id
  join conftrack.leg x on x.conference_id = c.conference_id
  join conftrack.caller k on k.caller_id = x.caller_id and k.endpoint_id is null
  where l.leg_id = x.leg_id
  returning l.leg_id, k.caller_id
)
delete from conftrack_names.person p
using unnamed u
where p.caller_id = u.caller_id
  and not exists (
    select from conftrack.leg l where l.caller_id = u.caller_id and l.leg_id not in (select leg_id from unnamed)
  );

-- name: mark_copies
-- A leg that another conference of the meeting tells of too, earlier: one of the same endpoint with which it shares
-- half of the shorter one's time, or more. It is a copy of the one that was told of first, before which there is none.
-- Only where a conference is named can two tell of the same leg.
with several as (
  select w.meeting_id
  from work_meeting w
  join conftrack.conference c on c.meeting_id = w.meeting_id and c.external_id not like '~%'
  group by w.meeting_id
  having count(*) > 1
),
candidate as (
  select c.meeting_id, l.leg_id, l.conference_id, l.external_id, l.joined_at,
    case when l.left_at is null then l.joined_at + interval '100 years' else greatest(l.joined_at, l.left_at) end as left_at,
    coalesce(-k.endpoint_id::bigint, l.caller_id::bigint) as endpoint_key
  from several s
  join conftrack.conference c on c.meeting_id = s.meeting_id and c.external_id not like '~%'
  join conftrack.leg l on l.conference_id = c.conference_id
  join conftrack.caller k on k.caller_id = l.caller_id
  where l.joined_at is not null and l.excluded is null
),
told_before as (
  select a.leg_id, b.leg_id as before_id
  from candidate a
  join candidate b on b.meeting_id = a.meeting_id and b.endpoint_key = a.endpoint_key
  where b.conference_id <> a.conference_id
    and (b.joined_at, b.external_id) < (a.joined_at, a.external_id)
    and b.left_at > a.joined_at
    and least(a.left_at, b.left_at) - a.joined_at >= 0.5 * least(a.left_at - a.joined_at, b.left_at - b.joined_at)
),
copied as (
  select distinct leg_id from told_before where before_id not in (select leg_id from told_before)
),
judged as (
  select leg_id, true as copy from copied
  union all
  -- What was a copy and is none any more.
  select l.leg_id, false
  from work_meeting w
  join conftrack.conference c on c.meeting_id = w.meeting_id
  join conftrack.leg l on l.conference_id = c.conference_id
  where l.copy and l.leg_id not in (select leg_id from copied)
)
update conftrack.leg l
set copy = j.copy
from judged j
where l.leg_id = j.leg_id and l.copy <> j.copy;

-- name: sum_meeting
-- What each meeting came to. A meeting nobody came to keeps started_at null and belongs to the day of the first
-- moment known of it.
-- $1 time zone
with peopled as (
  select w.meeting_id, count(*) as legs, count(distinct l.endpoint_key) as endpoints, min(l.joined_at) as joined_at,
    case when count(*) = count(l.left_at) then max(l.left_at) end as left_at, sum(l.left_at - l.joined_at) as leg_time
  from work_meeting w
  join conftrack.counted_leg l on l.meeting_id = w.meeting_id
  group by w.meeting_id
),
-- Each endpoint is one attendee, unless a head count stands for it.
headcount as (
  select h.meeting_id, sum(h.people - 1) as more
  from work_meeting w
  join conftrack.standing_headcount h on h.meeting_id = w.meeting_id
  where exists (
    select from conftrack.counted_leg l where l.meeting_id = h.meeting_id and l.endpoint_key = h.endpoint_key
  )
  group by h.meeting_id
),
failed as (
  select w.meeting_id, count(*) as attempts
  from work_meeting w
  join conftrack.failed_leg l on l.meeting_id = w.meeting_id
  group by w.meeting_id
),
named as (
  select distinct on (c.meeting_id) c.meeting_id, c.external_id, c.title
  from work_meeting w
  join conftrack.conference c on c.meeting_id = w.meeting_id
  where c.external_id not like '~%'
  order by c.meeting_id, c.started_at nulls last, c.span_from, c.external_id
),
new as (
  select w.meeting_id, n.external_id, n.title, p.joined_at as started_at, p.left_at as ended_at,
    coalesce(p.endpoints, 0) as endpoints, coalesce(p.legs, 0) as legs,
    coalesce(p.endpoints + coalesce(h.more, 0), 0) as attendees,
    coalesce(p.leg_time, '0') as leg_time, coalesce(f.attempts, 0) as failed,
    (coalesce(p.joined_at, m.span_from) at time zone $1)::date as day
  from work_meeting w
  join conftrack.meeting m on m.meeting_id = w.meeting_id
  left join peopled p on p.meeting_id = w.meeting_id
  left join headcount h on h.meeting_id = w.meeting_id
  left join failed f on f.meeting_id = w.meeting_id
  left join named n on n.meeting_id = w.meeting_id
),
marked as (
  insert into conftrack.dirty_day (day) select distinct day from new
)
update conftrack.meeting m
set external_id = n.external_id, title = n.title, started_at = n.started_at, ended_at = n.ended_at,
    endpoint_count = n.endpoints, leg_count = n.legs, attendees = n.attendees, leg_time = n.leg_time,
    failed_count = n.failed, day = n.day
from new n
where m.meeting_id = n.meeting_id
  and (m.external_id, m.title, m.started_at, m.ended_at, m.endpoint_count, m.leg_count, m.attendees, m.leg_time,
       m.failed_count, m.day)
      is distinct from
      (n.external_id, n.title, n.started_at, n.ended_at, n.endpoints, n.legs, n.attendees, n.leg_time, n.failed, n.day);

-- name: mark_all_dirty
-- Everything is derived again at the next refresh (the time zone of the days changed, or the inventory did).
insert into conftrack.dirty_conference (conference_id)
select conference_id from conftrack.conference;

-- name: mark_registration
-- Endpoints that were missing from the lists of who is registered are judged again (the time zone of the days changed, or
-- the inventory did).
insert into conftrack.dirty_incident (endpoint_id)
select endpoint_id from conftrack.endpoint_registration where until is not null
union
select endpoint_id from conftrack.incident where kind = 'unregistered' and closed_at is null;
