-- What a month's report is made of: the facts of its local days, by name. Everything is found by the day a meeting or an
-- incident belongs to, so that a month costs the same whatever stands before it.

-- name: list_report_meeting
-- $1 first day  $2 first day after
select m.meeting_id, s.name as source, m.room, coalesce(m.title, i.title) as title, m.day, m.started_at, m.ended_at,
  m.invitation_id, i.starts_at as scheduled_start
from conftrack.meeting m
join conftrack.source s on s.source_id = m.source_id
left join conftrack.invitation i on i.invitation_id = m.invitation_id
where m.day >= $1 and m.day < $2 and m.started_at is not null
order by m.started_at, m.meeting_id;

-- name: list_report_presence
-- Meeting by meeting: so the head counts, too, are found by its index.
-- $1 meeting_ids
select p.meeting_id, p.endpoint_key, e.code as endpoint, p.presence_seconds, p.legs, p.leg_seconds, p.attended, p.attendees,
  p.provenance
from unnest($1::bigint[]) held (meeting_id)
cross join lateral (select * from conftrack.presence p where p.meeting_id = held.meeting_id offset 0) p
left join conftrack.endpoint e on e.endpoint_id = p.endpoint_id;

-- name: list_report_leg
-- $1 meeting_ids
select l.meeting_id, e.code as endpoint, l.joined_at, l.left_at
from conftrack.counted_leg l
left join conftrack.endpoint e on e.endpoint_id = l.endpoint_id
where l.meeting_id = any($1::bigint[]);

-- name: count_report_failure
-- $1 first day  $2 first day after
select m.day, s.name as source, e.code as endpoint, count(*) as attempts
from conftrack.meeting m
join conftrack.failed_leg f on f.meeting_id = m.meeting_id
join conftrack.source s on s.source_id = m.source_id
left join conftrack.endpoint e on e.endpoint_id = f.endpoint_id
where m.day >= $1 and m.day < $2 and m.failed_count > 0
group by m.day, s.name, e.code;

-- name: list_report_incident
-- Those of the month's days, and others that reach into it, whenever they began.
-- $1 first day  $2 first day after  $3 when the first begins  $4 when the last ends
select i.day, i.source, i.endpoint, i.kind, i.end_class, i.owner, i.opened_at, i.closed_at
from conftrack.incidents i
where i.kind <> 'outage' and i.day >= $1::date and i.day < $2::date
union all
select i.day, i.source, i.endpoint, i.kind, i.end_class, i.owner, i.opened_at, i.closed_at
from conftrack.incidents i
where i.kind <> 'outage' and tstzrange(i.opened_at, i.closed_at, '[]') && tstzrange($3, $4)
  and i.opened_at < $4 and (i.closed_at is null or i.closed_at > $3)
  and (i.day >= $1::date and i.day < $2::date) is not true;

-- name: list_report_invitation
-- To meetings of the month, the standing ones once for each. held false: nobody came.
-- $1 first day  $2 first day after  $3 time zone
with dated as (
  select i.invitation_id, array_remove(array_agg(m.meeting_id order by m.started_at, m.meeting_id), null) as meeting_ids,
    coalesce(min(m.day), (i.starts_at at time zone $3)::date) as day
  from conftrack.invitation i
  left join conftrack.meeting m on m.invitation_id = i.invitation_id and m.started_at is not null
  where i.starts_at >= ($1::date - 2)::timestamp at time zone $3 and i.starts_at < ($2::date + 2)::timestamp at time zone $3
  group by i.invitation_id
),
standing as (
  select i.invitation_id, array[m.meeting_id] as meeting_ids, m.day
  from conftrack.meeting m
  join conftrack.invitation i on i.invitation_id = m.invitation_id
  where m.day >= $1 and m.day < $2 and m.started_at is not null and i.starts_at is null
)
select n.invitation_id, n.meeting_ids, n.day, s.name as source, i.room, i.title, i.starts_at,
  coalesce(i.ends_at, i.starts_at + interval '4 hours') as ends_at,
  array(
    select (e.code, x.excused_reason)
    from conftrack.expected x
    join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
    where x.invitation_id = n.invitation_id
    order by e.code
  ) as expected
from (select * from dated union all select * from standing) n
join conftrack.invitation i on i.invitation_id = n.invitation_id
left join conftrack.source s on s.source_id = i.source_id
where n.day >= $1 and n.day < $2
order by coalesce(i.starts_at, '-infinity'), n.invitation_id, n.meeting_ids;

-- name: list_report_endpoint
select e.code, e.name, u.code as org, e.seats, e.service_hours, e.retired_on
from conftrack.endpoint e
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
order by e.code;

-- name: certify_source
-- How each source was read in a period, and what the windows of history that have a part in it came to.
-- $1 since  $2 until
select s.name as source, coalesce(r.polls, 0) as polls, coalesce(r.failures, 0) as failed_polls,
  c.source_total, c.stored_total, coalesce(c.windows, 0) as windows, coalesce(c.short_windows, 0) as short_windows,
  (
    select count(*) from conftrack.rejected x
    where x.source_id = s.source_id
      and coalesce(x.position, x.first_seen_at) >= $1 and coalesce(x.position, x.first_seen_at) < $2
  ) as rejected,
  h.seen_until
from conftrack.source s
left join conftrack.seen_until h on h.source_id = s.source_id
left join lateral (
  select sum(polls)::bigint as polls, sum(failures)::bigint as failures
  from conftrack.run
  where source_id = s.source_id and hour >= $1 and hour < $2
) r on true
left join lateral (
  select sum(source_total)::bigint as source_total,
    sum(stored_total) filter (where source_total is not null)::bigint as stored_total, sum(windows)::bigint as windows,
    sum(short_windows)::bigint as short_windows
  from conftrack.completeness
  where source_id = s.source_id and tstzrange(least(since, until), until) && tstzrange($1, $2)
) c on true
order by s.name;

-- name: list_report_unseen
-- When each source could not be seen and no history told later, as far as it reaches into a period (until null: it goes
-- on), and up to when it was seen, as in list_unseen.
-- $1 since  $2 until, or null
select s.name as source, h.seen_until as since, null::timestamptz as until, h.seen_until as last_seen
from conftrack.source s
join conftrack.seen_until h on h.source_id = s.source_id
union all
select s.name, u.since, u.until, u.last_seen
from conftrack.unseen u
join conftrack.source s on s.source_id = u.source_id
where tstzrange(u.since, u.until) && tstzrange($1, $2);

-- name: find_report
-- $1 month
select since, until, closed_at, closed_by, figures, encode(digest, 'hex') as digest
from conftrack.report
where month = $1;

-- name: list_report
select r.month, r.since, r.until, r.closed_at, r.closed_by, encode(r.digest, 'hex') as digest,
  (select count(*) from conftrack.report_addendum a where a.month = r.month) as addenda
from conftrack.report r
order by r.month desc;

-- name: list_addendum
-- $1 month
select number, made_at, made_by, figures, encode(digest, 'hex') as digest
from conftrack.report_addendum
where month = $1
order by number;

-- name: keep_report
-- $1 month  $2 since  $3 until  $4 closed_at  $5 closed_by  $6 figures
insert into conftrack.report (month, since, until, closed_at, closed_by, figures)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
returning month;

-- name: keep_addendum
-- Only beside what it corrects: nothing if another came first.
-- $1 month  $2 made_at  $3 made_by  $4 figures  $5 digest of what stood before, in hexadecimal
insert into conftrack.report_addendum (month, number, made_at, made_by, figures, corrects)
select $1, n.number + 1, $2, $3, $4, decode($5, 'hex')
from (
  select coalesce(max(number), 0) as number,
    coalesce((array_agg(digest order by number desc))[1], (select digest from conftrack.report where month = $1)) as digest
  from conftrack.report_addendum
  where month = $1
) n
where n.digest = decode($5, 'hex')
on conflict do nothing
returning number;
