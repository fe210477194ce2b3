-- Who is invited where: invitations and the endpoints expected on them, and what a roll-call needs to know.

-- name: list_invitation
-- These invitations, and all that are not over: standing ones are never, until they are withdrawn. Without an end a meeting
-- is taken to last four hours.
-- $1 uids  $2 moment that is now
select i.uid, s.name as source, i.room, i.title, i.starts_at, i.ends_at, i.sensitive, i.origin, x.endpoints, x.reasons
from conftrack.invitation i
left join conftrack.source s on s.source_id = i.source_id
cross join lateral (
  select coalesce(array_agg(e.code), '{}') as endpoints, coalesce(array_agg(x.excused_reason), '{}') as reasons
  from conftrack.expected x
  join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
  where x.invitation_id = i.invitation_id
) x
where i.uid = any($1::text[])
  or coalesce(i.withdrawn_at, i.ends_at, i.starts_at + interval '4 hours', 'infinity') > $2;

-- name: list_room
-- Every room that a meeting was held in.
select distinct room from conftrack.meeting;

-- name: list_source_name
select name from conftrack.source;

-- name: put_invitation
-- $1 uids  $2 source names  $3 rooms  $4 titles  $5 starts  $6 ends  $7 origins  $8 now  $9 sensitive
insert into conftrack.invitation as i (uid, source_id, room, title, starts_at, ends_at, origin, known_at, sensitive)
select x.uid, s.source_id, x.room, x.title, x.starts_at, x.ends_at, x.origin, $8, x.sensitive
from unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $9::boolean[]
) x (uid, source, room, title, starts_at, ends_at, origin, sensitive)
left join conftrack.source s on s.name = x.source
on conflict (uid) do update
set source_id = excluded.source_id, room = excluded.room, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
  title = case when not i.sensitive then excluded.title end, sensitive = i.sensitive or excluded.sensitive;

-- name: drop_expected
-- Who is on these invitations no more.
-- $1 uids  $2 the uid of each who stays  $3 codes of those
delete from conftrack.expected x
using conftrack.invitation i, conftrack.endpoint e
where x.invitation_id = i.invitation_id and x.endpoint_id = e.endpoint_id and i.uid = any($1::text[])
  and not exists (
    select from unnest($2::text[], $3::text[]) k (uid, code) where k.uid = i.uid and k.code = e.code
  );

-- name: put_expected
-- Who is invited; an excuse that stands is only replaced by another one, and holds since it was first given.
-- $1 uids  $2 endpoint codes  $3 reasons to stay away  $4 moment  $5 who says so
insert into conftrack.expected as x (invitation_id, endpoint_id, excused_at, excused_by, excused_reason)
select i.invitation_id, e.endpoint_id, case when k.reason is not null then $4::timestamptz end,
  case when k.reason is not null then $5::text end, k.reason
from unnest($1::text[], $2::text[], $3::text[]) k (uid, code, reason)
join conftrack.invitation i on i.uid = k.uid
join conftrack.endpoint e on e.code = k.code
on conflict (invitation_id, endpoint_id) do update
set excused_at = coalesce(x.excused_at, excluded.excused_at), excused_by = excluded.excused_by, excused_reason = excluded.excused_reason
where excluded.excused_reason is not null and excluded.excused_reason is distinct from x.excused_reason;

-- name: drop_invitation
-- $1 uids
delete from conftrack.invitation where uid = any($1::text[]);

-- name: list_told
-- The rooms that a source tells of, and who is invited to them.
-- $1 source_id
select i.room, array_agg(e.code order by e.code) as codes
from conftrack.invitation i
join conftrack.expected x on x.invitation_id = i.invitation_id
join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
where i.source_id = $1 and i.origin = 'source' and i.starts_at is null and i.withdrawn_at is null
group by i.room;

-- name: list_serving
-- The endpoints that have these aliases and are in service.
-- $1 aliases  $2 today
select a.alias, e.code
from conftrack.alias a
join conftrack.endpoint e on e.endpoint_id = a.endpoint_id
where a.alias = any($1::text[]) and coalesce(e.retired_on, 'infinity') > $2;

-- name: withdraw_told
-- What a source tells of these rooms no more.
-- $1 source_id  $2 rooms  $3 moment
update conftrack.invitation
set withdrawn_at = $3
where source_id = $1 and room = any($2::text[]) and origin = 'source' and starts_at is null and withdrawn_at is null
returning invitation_id;

-- name: put_told
-- $1 source_id  $2 rooms  $3 uids  $4 whether they are sensitive  $5 moment
insert into conftrack.invitation (uid, source_id, room, origin, known_at, sensitive)
select t.uid, $1, t.room, 'source', $5, t.sensitive
from unnest($2::text[], $3::text[], $4::boolean[]) t (room, uid, sensitive);

-- name: put_told_expected
-- Who is invited; an excuse from an invitation to the same room that was withdrawn now is taken over.
-- $1 uids  $2 codes of endpoints  $3 invitation_ids that were withdrawn now
insert into conftrack.expected (invitation_id, endpoint_id, excused_at, excused_by, excused_reason)
select i.invitation_id, e.endpoint_id, x.excused_at, x.excused_by, x.excused_reason
from unnest($1::text[], $2::text[]) k (uid, code)
join conftrack.invitation i on i.uid = k.uid
join conftrack.endpoint e on e.code = k.code
left join conftrack.invitation o on o.invitation_id = any($3::bigint[]) and o.room = i.room
left join conftrack.expected x on x.invitation_id = o.invitation_id and x.endpoint_id = e.endpoint_id;

-- name: drop_unused
-- Those of these invitations on which no meeting was held, and for which nothing was typed.
-- $1 invitation_ids
delete from conftrack.invitation i
where i.invitation_id = any($1::bigint[])
  and not exists (select from conftrack.meeting m where m.invitation_id = i.invitation_id)
  and not exists (select from conftrack.headcount h where h.invitation_id = i.invitation_id);

-- name: mark_invitation
-- The incidents of the meetings that are, or may be, held on these invitations are derived again; and of a dated one its
-- own, whether somebody comes or not.
-- $1 uids
with named as (
  select * from conftrack.invitation where uid = any($1::text[])
),
held as (
  select m.meeting_id from named i join conftrack.meeting m on m.invitation_id = i.invitation_id
  union
  select m.meeting_id
  from named i
  join conftrack.meeting m on m.room = i.room and m.source_id = coalesce(i.source_id, m.source_id)
    and (
      (i.starts_at is null and m.span_to > i.known_at)
      or (i.starts_at < m.span_to and m.span_from < coalesce(i.ends_at, i.starts_at + interval '4 hours'))
    )
)
insert into conftrack.dirty_incident (meeting_id, invitation_id)
select meeting_id, null from held
union all
select null, invitation_id from named where starts_at is not null;

-- name: excuse_expected
-- Returns the invitation's uid, if the endpoint is on it. Another reason does not make the excuse a later one; without a
-- reason it is taken back.
-- $1 invitation_id  $2 endpoint code  $3 reason, or null  $4 who says so  $5 moment
update conftrack.expected x
set excused_reason = $3::text, excused_by = case when $3::text is not null then $4::text end,
  excused_at = case when $3::text is not null then coalesce(x.excused_at, $5::timestamptz) end
from conftrack.invitation i, conftrack.endpoint e
where x.invitation_id = $1 and i.invitation_id = x.invitation_id and e.endpoint_id = x.endpoint_id and e.code = $2
returning i.uid;

-- name: number_invitation
-- $1 uid
select invitation_id from conftrack.invitation where uid = $1;

-- name: find_convocation
-- What is to be called over: an invitation to one meeting with all meetings held on it, or one meeting held on a standing
-- invitation. ended_at is null while any of them goes on, and when nobody has come.
-- $1 invitation_id, or null  $2 meeting_id, or null
with asked as (
  select i.*, m.meeting_id
  from conftrack.invitation i
  left join conftrack.meeting m on m.meeting_id = $2::bigint and m.invitation_id = i.invitation_id and i.starts_at is null
  where i.invitation_id = $1::bigint or i.invitation_id = (
    select invitation_id from conftrack.meeting where meeting_id = $2::bigint
  )
),
held as (
  select a.invitation_id, m.*
  from asked a
  join lateral (
    select m.meeting_id, m.source_id, m.title, m.started_at, m.ended_at
    from conftrack.meeting m
    where m.started_at is not null
      and case when a.starts_at is null then m.meeting_id = a.meeting_id else m.invitation_id = a.invitation_id end
  ) m on true
),
summed as (
  select array_agg(meeting_id order by started_at, meeting_id) as meeting_ids, min(source_id) as source_id,
    (array_agg(title order by started_at, meeting_id))[1] as title, min(started_at) as started_at,
    case when count(*) filter (where ended_at is null) = 0 then max(ended_at) end as ended_at
  from held
),
told as (
  select a.*, coalesce(h.source_id, a.source_id) as its_source_id, h.meeting_ids, coalesce(h.title, a.title) as its_title,
    coalesce(a.starts_at, h.started_at) as due_at, h.ended_at
  from asked a
  cross join summed h
)
select t.invitation_id, t.uid, coalesce(t.meeting_ids, '{}') as meeting_ids, s.name as source, t.room, t.its_title as title,
  t.due_at as starts_at, t.ends_at, t.ended_at, u.seen_until, u.told_later,
  b.sinces, b.untils
from told t
left join conftrack.source s on s.source_id = t.its_source_id
cross join lateral conftrack.sight(t.its_source_id, t.due_at, t.ended_at) u
cross join lateral (
  select coalesce(array_agg(b.since order by b.since), '{}') as sinces,
    coalesce(array_agg(b.until order by b.since), '{}') as untils
  from conftrack.blindness b
  where (b.source_id = t.its_source_id or t.its_source_id is null)
    and b.until > t.due_at - interval '90 minutes' and b.since < coalesce(t.ended_at, 'infinity')
) b
where t.due_at is not null;

-- name: list_guest
-- Who is expected on an invitation, with whom to call there.
-- $1 invitation_id
select e.code, e.name, u.code as org, u.name as org_name, u.level, e.contact_name, e.contact_phone, x.excused_at,
  x.excused_reason
from conftrack.expected x
join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
where x.invitation_id = $1
order by u.level nulls last, e.code;

-- name: list_guest_leg
-- Connections and attempts of those who are expected on an invitation: in the meetings that are held on it, and in any
-- meeting of its room from a moment on that is a test of it.
-- $1 invitation_id  $2 meeting_ids  $3 since  $4 until
with asked as (
  select * from conftrack.invitation where invitation_id = $1
),
candidate as (
  select m.meeting_id
  from asked i
  join conftrack.meeting m on m.room = i.room and m.source_id = coalesce(i.source_id, m.source_id)
    and m.span_from < $4 and m.span_to > $3
  union
  -- Those that nobody came to, too: somebody may have tried.
  select m.meeting_id from asked i join conftrack.meeting m on m.invitation_id = i.invitation_id where i.starts_at is not null
  union
  select unnest($2::bigint[])
),
looked_at as (
  select c.meeting_id,
    c.meeting_id = any($2::bigint[]) or (i.starts_at is not null and m.invitation_id = i.invitation_id) is true as here
  from candidate c
  join conftrack.meeting m on m.meeting_id = c.meeting_id
  cross join asked i
)
select e.code, w.here, l.joined_at,
  case when l.left_at < l.joined_at then l.joined_at else l.left_at end as left_at, l.end_class, l.end_reason, l.direction,
  q.moments, q.levels
from looked_at w
join conftrack.conference c on c.meeting_id = w.meeting_id
join conftrack.leg l on l.conference_id = c.conference_id
join conftrack.caller k on k.caller_id = l.caller_id
join conftrack.expected x on x.invitation_id = $1 and x.endpoint_id = k.endpoint_id
join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
cross join lateral (
  select coalesce(array_agg(q.at order by q.at), '{}') as moments, coalesce(array_agg(q.level order by q.at), '{}') as levels
  from conftrack.quality_change q
  where q.source_id = l.source_id and q.external_id = l.external_id
) q
where l.excluded is null and not l.copy and (w.here or coalesce(l.joined_at, l.left_at) < $4)
  and (l.left_at is null or l.left_at > $3)
order by e.code, coalesce(l.joined_at, l.left_at), l.leg_id;

-- name: list_convocation
-- The meetings of a period that somebody is expected at, in order of time, each with how many are. present: in it now, so
-- far as the source was seen; come: in it at any time.
-- $1 since  $2 until
with dated as (
  select i.invitation_id, array(
    select m.meeting_id from conftrack.meeting m where m.invitation_id = i.invitation_id and m.started_at is not null
    order by m.started_at, m.meeting_id
  ) as meeting_ids, i.starts_at
  from conftrack.invitation i
  where i.starts_at < $2 and coalesce(i.ends_at, i.starts_at + interval '4 hours') > $1
),
standing as (
  select i.invitation_id, array[m.meeting_id] as meeting_ids, m.started_at as starts_at
  from conftrack.invitation i
  join conftrack.meeting m on m.invitation_id = i.invitation_id
  where i.starts_at is null and m.started_at < $2 and coalesce(m.ended_at, 'infinity') > $1
),
each as (
  select * from dated
  union all
  select * from standing
)
select i.invitation_id, i.uid, a.meeting_ids, s.name as source, i.room, coalesce(m.title, i.title) as title, a.starts_at,
  i.ends_at, m.started_at, m.ended_at, n.expected, n.excused, n.present, n.come
from each a
join conftrack.invitation i on i.invitation_id = a.invitation_id
cross join lateral (
  select min(m.source_id) as source_id, (array_agg(m.title order by m.started_at, m.meeting_id))[1] as title,
    min(m.started_at) as started_at,
    case when count(*) filter (where m.ended_at is null) = 0 then max(m.ended_at) end as ended_at
  from conftrack.meeting m
  where m.meeting_id = any(a.meeting_ids)
) m
left join conftrack.source s on s.source_id = coalesce(m.source_id, i.source_id)
cross join lateral (
  select count(*) as expected,
    count(*) filter (where x.excused_at is not null and l.legs is null) as excused,
    count(*) filter (where l.up) as present,
    count(*) filter (where l.legs is not null) as come
  from conftrack.expected x
  left join lateral (
    select nullif(count(*), 0) as legs, bool_or(l.left_at is null) as up
    from conftrack.counted_leg l
    where l.meeting_id = any(a.meeting_ids) and l.endpoint_id = x.endpoint_id
      and (l.left_at is null or l.left_at > a.starts_at)
  ) l on true
  where x.invitation_id = i.invitation_id
) n
order by a.starts_at, i.uid, a.meeting_ids;
