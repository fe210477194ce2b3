-- What is kept of people and for how long: names, sensitive meetings, erasing, retention.

-- name: try_tidying
-- One at a time, until the session gives the lock back.
select pg_try_advisory_lock(hashtext('conftrack tidying'));

-- name: end_tidying
select pg_advisory_unlock(hashtext('conftrack tidying'));

-- name: drop_person
-- Names of who was seen last before a moment.
-- $1 moment  $2 at most so many
with old as (
  delete from conftrack_names.person
  where caller_id in (select caller_id from conftrack_names.person where last_seen_at < $1 order by last_seen_at limit $2)
  returning caller_id
)
select count(*) from old;

-- name: drop_every_person
with kept as (
  delete from conftrack_names.person returning caller_id
)
select count(*) from kept;

-- name: drop_old_rejected
-- $1 moment  $2 at most so many
with old as (
  delete from conftrack.rejected
  where rejected_id in (select rejected_id from conftrack.rejected where first_seen_at < $1 order by first_seen_at limit $2)
  returning rejected_id
)
select count(*) from old;

-- name: drop_old_audit
-- $1 moment  $2 at most so many
with old as (
  delete from conftrack.audit
  where audit_id in (select audit_id from conftrack.audit where at < $1 order by at limit $2)
  returning audit_id
)
select count(*) from old;

-- name: drop_old_run
-- $1 moment  $2 at most so many
with old as (
  delete from conftrack.run
  where ctid in (select ctid from conftrack.run where hour < $1 order by hour limit $2)
  returning hour
)
select count(*) from old;

-- name: list_sensor
select caller_id from conftrack.sensor order by caller_id;

-- name: drop_idle_minute
-- What the sensor in a room saw in a span while its endpoint was in no meeting: no head count is made of that, since a room
-- is back within five minutes, or it is another presence.
-- $1 caller_id  $2 since, or null  $3 until
with span as (
  select coalesce($2::timestamptz, '-infinity') as since, $3::timestamptz as until
),
leg as (
  select l.joined_at, case when l.left_at is not null then greatest(l.left_at, l.joined_at) end as left_at
  from span s
  join conftrack.caller d on d.caller_id = $1
  join conftrack.caller k on k.caller_id = d.caller_id or k.endpoint_id = d.endpoint_id
  join conftrack.leg l on l.caller_id = k.caller_id
  where l.joined_at < s.until + interval '5 minutes' and (l.left_at is null or l.left_at >= s.since - interval '5 minutes')
),
busy as (
  select coalesce(
    range_agg(tstzrange(joined_at - interval '5 minutes', left_at + interval '5 minutes')), '{}'
  ) as spans
  from leg
),
idle as (
  delete from conftrack.people_minute p
  using span s, busy b
  where p.caller_id = $1 and p.minute >= s.since and p.minute < s.until and not p.minute <@ b.spans
  returning p.minute
)
select count(*) from idle;

-- name: list_holding
-- What is kept of people, and what may hold something of them: how much of it, and since when.
select 'names' as what, count(*) as rows, min(first_seen_at) as since from conftrack_names.person
union all
select 'people', count(*), null from conftrack.caller where personal and not erased
union all
select 'erased', count(*), null from conftrack.caller where erased
union all
select 'sensitive', count(*), min(span_from) from conftrack.conference where sensitive
union all
select 'rejected', count(*), min(first_seen_at) from conftrack.rejected
union all
select 'audit', count(*), min(at) from conftrack.audit
union all
select 'runs', count(*), min(hour) from conftrack.run
union all
select 'readings', count(*), min(minute) from conftrack.people_minute
union all
select 'sessions', count(*), min(created_at) from conftrack.web_session;

-- name: list_people
-- $1 seen since, or null
select identity, name, first_seen_at, last_seen_at
from conftrack_names.people
where $1::timestamptz is null or last_seen_at >= $1
order by name, identity;

-- name: find_person
-- A person by the pseudonym, and what there is of it.
-- $1 identity
select k.caller_id, k.identity, count(l.leg_id) as legs, count(distinct c.meeting_id) as meetings,
  exists (select from conftrack_names.person p where p.caller_id = k.caller_id) as named
from conftrack.caller k
left join conftrack.leg l on l.caller_id = k.caller_id
left join conftrack.conference c on c.conference_id = l.conference_id
where k.identity = $1 and k.personal and not k.erased
group by k.caller_id;

-- name: erase_person
-- Nothing tells any more who this caller was. An endpoint that it was matched to stays.
-- $1 caller_id  $2 a word that stands for nobody
with old as (
  select identity from conftrack.caller where caller_id = $1 and not erased for update
),
name as (
  delete from conftrack_names.person where caller_id = $1
),
alias as (
  update conftrack.alias a set alias = $2 from old where a.alias = old.identity
)
update conftrack.caller k set identity = $2, erased = true from old where k.caller_id = $1
returning k.caller_id;

-- name: list_rejected_raw
select rejected_id, raw from conftrack.rejected;

-- name: empty_rejected
-- $1 rejected_id  $2 what stands for its content
update conftrack.rejected r set raw = $2::bytea, error = 'it did not decode, and its content was removed'
where r.rejected_id = $1;

-- name: list_audit_with
-- $1 texts
select audit_id, detail::text as detail
from conftrack.audit a
where exists (select from unnest($1::text[]) x where strpos(a.detail::text, x) > 0);

-- name: put_audit_detail
-- $1 audit_id  $2 detail
update conftrack.audit set detail = $2::jsonb where audit_id = $1;

-- name: list_said_room
select room from conftrack.conference
union
select room from conftrack.invitation
union
select room from conftrack.headcount where room is not null;  -- what a site typed has none

-- name: list_said_title
select title from conftrack.conference where title is not null
union
select title from conftrack.invitation where title is not null;

-- name: hush_conference
-- $1 rooms  $2 titles
with hushed as (
  update conftrack.conference
  set sensitive = true, title = null
  where (room = any($1::text[]) or title = any($2::text[])) and (not sensitive or title is not null)
  returning conference_id
),
marked as (
  insert into conftrack.dirty_conference (conference_id) select conference_id from hushed
)
select count(*) from hushed;

-- name: hush_invitation
-- Returns the uids of those that were not sensitive before.
-- $1 rooms  $2 titles
with hushed as (
  update conftrack.invitation
  set sensitive = true, title = null
  where (room = any($1::text[]) or title = any($2::text[])) and not sensitive
  returning invitation_id, uid
),
unnoted as (
  update conftrack.headcount h set note = null from hushed i where h.invitation_id = i.invitation_id
)
select uid from hushed;

-- name: mark_hushed
-- The meetings that are, or may be, held on those of these invitations that are sensitive are derived again.
-- $1 uids
insert into conftrack.dirty_conference (conference_id)
select c.conference_id
from conftrack.invitation i
join conftrack.meeting m on m.room = i.room and m.source_id = coalesce(i.source_id, m.source_id)
  and (
    i.starts_at is null
    or (i.starts_at < m.span_to and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours'))
  )
join conftrack.conference c on c.meeting_id = m.meeting_id
where i.uid = any($1::text[]) and i.sensitive;

-- name: rename_room
-- Everywhere at once, so that what met in the room is still one meeting. The uid of an invitation without one of its own
-- begins with its room (in the log of what sites typed too), and so do the ids of legs with some systems.
-- $1 room  $2 what it is called from now on
with named as (
  select l.leg_id, l.source_id, l.external_id, $2 || substr(l.external_id, length($1) + 1) as kept_id
  from conftrack.conference c
  join conftrack.leg l on l.conference_id = c.conference_id and starts_with(l.external_id, $1 || '/')
  where c.room = $1
),
leg as (
  update conftrack.leg l set external_id = n.kept_id from named n where l.leg_id = n.leg_id
),
quality_change as (
  update conftrack.quality_change q
  set external_id = n.kept_id
  from named n
  where q.source_id = n.source_id and q.external_id = n.external_id
),
conference as (
  update conftrack.conference
  set room = $2,
    external_id = case
      when starts_with(external_id, '~' || $1 || '/') then '~' || $2 || substr(external_id, length($1) + 2)
      else external_id
    end
  where room = $1
),
meeting as (
  update conftrack.meeting set room = $2 where room = $1
),
headcount as (
  update conftrack.headcount set room = $2, note = null where room = $1
),
uid as (
  select x.uid as old, case
    when starts_with(x.uid, $1 || '@') then $2 || substr(x.uid, length($1) + 1)
    else replace(x.uid, '/' || $1 || '@', '/' || $2 || '@')
  end as new
  from (select uid from conftrack.invitation where room = $1 union select uid from conftrack.headcount_change) x
),
headcount_change as (
  update conftrack.headcount_change c set uid = u.new from uid u where c.uid = u.old and u.new <> u.old
)
update conftrack.invitation i set room = $2, uid = u.new from uid u where i.room = $1 and u.old = i.uid;
