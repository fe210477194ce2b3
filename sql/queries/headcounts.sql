-- Head counts as people give them: typed by a site over its link, or imported from a list.

-- name: keep_meetings
-- No meeting is derived meanwhile, else a head count and its meeting might miss each other.
select pg_advisory_xact_lock_shared(hashtext('conftrack refresh'));

-- name: keep_open
-- No month is closed meanwhile.
lock table conftrack.report in share mode;

-- name: find_sitting
-- What a link is of: an endpoint that is expected on an invitation (or was: it has typed a number), at its one meeting or
-- on a day of a standing one, unless that was withdrawn before and no meeting was held on it. closed: the month it
-- belongs to is; of a meeting that was held, by its day.
-- $1 invitation_id  $2 endpoint_id  $3 day, or null  $4 time zone
select i.uid, i.room, coalesce(m.title, i.title) as title, i.starts_at, i.ends_at, e.code, e.name, e.seats, h.people, h.note,
  h.at,
  exists (
    select from conftrack.report r
    where exists (
      select from unnest(coalesce(m.days, array[coalesce($3::date, (i.starts_at at time zone $4)::date)])) d (day)
      where d.day >= r.since and d.day < r.until
    )
  ) as closed
from conftrack.invitation i
join conftrack.endpoint e on e.endpoint_id = $2
cross join lateral (
  select array_agg(m.day) as days, (array_agg(m.title order by m.started_at, m.meeting_id))[1] as title
  from conftrack.meeting m
  where m.invitation_id = i.invitation_id and m.started_at is not null and m.day = coalesce($3, m.day)
) m
left join lateral (
  select h.people, h.note, h.at
  from conftrack.headcount h
  join conftrack.caller k on k.caller_id = h.caller_id
  where h.invitation_id = i.invitation_id and h.day is not distinct from $3 and k.endpoint_id = e.endpoint_id
  order by h.at desc
  limit 1
) h on true
where i.invitation_id = $1 and (i.starts_at is null) = ($3::date is not null)
  and (i.withdrawn_at is null or m.days is not null or $3::date <= (i.withdrawn_at at time zone $4)::date)
  and (
    h.at is not null
    or exists (select from conftrack.expected x where x.invitation_id = i.invitation_id and x.endpoint_id = e.endpoint_id)
  );

-- name: put_typed
-- Of a sensitive invitation no note is kept.
-- $1 invitation_id  $2 day, or null  $3 caller_id  $4 people  $5 note, or null  $6 moment
insert into conftrack.headcount (invitation_id, day, at, caller_id, provenance, people, note)
select i.invitation_id, $2::date, $6::timestamptz, $3::integer, 'reported', $4::integer,
  case when not i.sensitive then $5::text end
from conftrack.invitation i
where i.invitation_id = $1
on conflict (invitation_id, day, caller_id) where invitation_id is not null do update
set at = excluded.at, people = excluded.people, note = excluded.note;

-- name: mark_typed
-- The meetings that may be held on an invitation, or on a day of a standing one, are derived again.
-- $1 invitation_id  $2 day, or null  $3 time zone
insert into conftrack.dirty_conference (conference_id)
select c.conference_id
from conftrack.invitation i
join conftrack.meeting m on m.room = i.room and m.source_id = coalesce(i.source_id, m.source_id)
  and m.span_to >= coalesce(i.starts_at, ($2::date - 1)::timestamp at time zone $3)
  and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours', ($2::date + 2)::timestamp at time zone $3)
join conftrack.conference c on c.meeting_id = m.meeting_id
where i.invitation_id = $1;

-- name: log_typed
-- $1 moment  $2 uid  $3 day, or null  $4 endpoint_id  $5 number before, or null  $6 number after
insert into conftrack.headcount_change (at, uid, day, endpoint_id, before, after) values ($1, $2, $3, $4, $5, $6);

-- name: number_caller
-- The caller that an endpoint's code is.
-- $1 identity
select caller_id from conftrack.caller where identity = $1;

-- name: settle_typed
-- What sites typed for invitations that go, or for standing ones that will mean other meetings, stays with the meetings
-- that it stands for, as if told of their first moment. What never found a meeting goes with an invitation.
-- $1 uids
update conftrack.headcount h
set invitation_id = null, day = null, source_id = m.source_id, room = m.room,
  at = coalesce(m.started_at, m.span_from)
from conftrack.invitation i, conftrack.meeting m
where i.uid = any($1::text[]) and h.invitation_id = i.invitation_id and m.meeting_id = h.meeting_id;

-- name: list_sitting
-- Invitations to a room, or one of them, to a meeting that is not over by a moment or begins before another; standing ones
-- last, and of a source none where a list has one. Without an end a meeting is taken to last four hours.
-- $1 room, or null  $2 uid, or null  $3 invitation_id, or null  $4 not over by  $5 begins before, or null
select i.invitation_id, i.uid, i.room, i.title, i.starts_at, i.ends_at
from conftrack.invitation i
where i.room = coalesce($1, i.room) and i.uid = coalesce($2, i.uid) and i.invitation_id = coalesce($3, i.invitation_id)
  and num_nonnulls($1::text, $2::text, $3::bigint) > 0
  and (
    $4::timestamptz is null or (i.starts_at is null and coalesce(i.withdrawn_at, 'infinity') > $4)
    or (coalesce(i.ends_at, i.starts_at + interval '4 hours') > $4 and i.starts_at < coalesce($5::timestamptz, 'infinity'))
  )
  and not (
    $1::text is not null and i.starts_at is null and i.origin = 'source' and exists (
      select from conftrack.invitation f
      where f.room = i.room and coalesce(f.source_id, i.source_id) = i.source_id and f.starts_at is null
        and f.origin <> 'source'
    )
  )
order by i.starts_at is null, i.starts_at, i.invitation_id;

-- name: list_card
-- Who is expected on an invitation and in service, by code, with the number that was typed last.
-- $1 invitation_id  $2 day, or null
select e.endpoint_id, e.code, e.name, u.name as org_name, h.people, h.at
from conftrack.expected x
join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join lateral (
  select h.people, h.at
  from conftrack.headcount h
  join conftrack.caller k on k.caller_id = h.caller_id
  where h.invitation_id = x.invitation_id and h.day is not distinct from $2::date and k.endpoint_id = e.endpoint_id
  order by h.at desc
  limit 1
) h on true
where x.invitation_id = $1
order by e.code;

-- name: find_counted_meeting
-- The meetings that lines of a list may mean: by room or title, that went on between two moments. closed: their month is.
-- $1 room or title a line  $2 since a line  $3 until a line
select w.place, m.meeting_id, m.source_id, s.name as source, m.room, m.title, m.started_at, m.ended_at, m.day,
  exists (select from conftrack.report r where m.day >= r.since and m.day < r.until) as closed
from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) with ordinality w (name, since, until, place)
join conftrack.meeting m on m.started_at < w.until and coalesce(m.ended_at, 'infinity') >= w.since
join conftrack.source s on s.source_id = m.source_id
left join conftrack.invitation i on i.invitation_id = m.invitation_id
where m.started_at is not null and w.name in (m.room, m.title, i.title)
order by w.place, m.started_at, m.meeting_id;

-- name: list_imported
-- $1 meeting_ids
select h.meeting_id, k.endpoint_id, e.code, h.people, h.note
from conftrack.headcount h
join conftrack.caller k on k.caller_id = h.caller_id
join conftrack.endpoint e on e.endpoint_id = k.endpoint_id
where h.meeting_id = any($1::bigint[]) and h.provenance = 'imported';

-- name: drop_imported
-- What was imported before for the same endpoints of these meetings.
-- $1 meeting_ids  $2 endpoint codes
delete from conftrack.headcount h
using unnest($1::bigint[], $2::text[]) x (meeting_id, code), conftrack.endpoint e, conftrack.caller k
where h.meeting_id = x.meeting_id and h.provenance = 'imported' and e.code = x.code and k.endpoint_id = e.endpoint_id
  and h.caller_id = k.caller_id;
