-- How one page becomes facts. Every statement here runs inside the page's own transaction.
-- Bits of leg.history_fields and leg.push_fields: those of conftrack.known_fields, in its order; -1 stands for "every
-- field that is not null". Of conference: 1 room, 2 title, 4 started_at, 8 ended_at.

-- name: create_stage
-- The tables a page is copied to; they live as long as the session and are empty after each transaction.
create temp table if not exists stage_conference (
  external_id text collate "C",
  room text,
  title text,
  started_at timestamptz,
  ended_at timestamptz,
  sensitive boolean
) on commit delete rows;
create temp table if not exists stage_leg (
  external_id text collate "C",
  conference_id bigint,
  caller_id integer,
  protocol text,
  direction text,
  joined_at timestamptz,
  left_at timestamptz,
  end_class text,
  end_reason text,
  excluded text,
  rx_bitrate integer,
  tx_bitrate integer,
  rx_loss double precision,
  tx_loss double precision,
  jitter_seconds double precision,
  latency_seconds double precision,
  fields integer generated always as (
    conftrack.known_fields(
      conference_id, caller_id, protocol, direction, joined_at, left_at, end_class, end_reason, excluded,
      rx_bitrate, tx_bitrate, rx_loss, tx_loss, jitter_seconds, latency_seconds
    )
  ) stored
) on commit delete rows;

-- name: keep_inventory
-- No inventory comes in while callers find their endpoints: one would miss the other.
select pg_advisory_xact_lock_shared(hashtext('conftrack inventory'));

-- name: begin_page
-- Keeps meetings from being derived until the page is in; says whether any record of the stream waits as rejected.
-- A page looks its rows up one by one by index, whatever the planner thinks of tables that were empty a moment ago.
-- $1 source_id  $2 stream
select
  set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true),
  set_config('enable_seqscan', 'off', true),
  set_config('enable_material', 'off', true),
  set_config('plan_cache_mode', 'force_custom_plan', true),
  pg_advisory_xact_lock_shared(hashtext('conftrack refresh')),
  exists (select from conftrack.rejected where source_id = $1 and stream = $2) as has_rejected;

-- name: merge_conference
-- Staged conferences into facts; returns how many were new and how many changed.
-- $1 source_id  $2 origin (1 live, 2 push, 3 history)  $3 observed_at
with staged as (
  select s.*,
    1 | case when s.title is not null then 2 else 0 end | case when s.started_at is not null then 4 else 0 end
      | case when s.ended_at is not null then 8 else 0 end as fields
  from stage_conference s
),
old as (
  select s.*, c.conference_id, c.room as old_room, c.title as old_title, c.started_at as old_started_at,
    c.ended_at as old_ended_at, c.history_fields, c.push_fields, c.observed_at, c.listed,
    s.sensitive or c.sensitive as hushed,
    case
      when $2 = 3 then 0
      when $2 = 2 then c.history_fields
      -- A snapshot from before the newest one fills in what is not known, and may know of an earlier start.
      when c.observed_at > $3 then ~4 | c.history_fields | c.push_fields
      else c.history_fields | c.push_fields
    end as locked,
    $2 = 1 and c.observed_at > $3 as late
  from staged s
  -- (limit 1 keeps it a look-up a row.)
  cross join lateral (select * from conftrack.conference where source_id = $1 and external_id = s.external_id limit 1) c
),
new as (
  select conference_id,
    case when locked & 1 = 0 then room else old_room end as room,
    case when hushed then null
         when locked & 2 = 0 then coalesce(title, old_title) else coalesce(old_title, title) end as title,
    hushed,
    case when locked & 4 = 0 and $2 = 1 then least(started_at, old_started_at)
         when locked & 4 = 0 then coalesce(started_at, old_started_at)
         else coalesce(old_started_at, started_at) end as started_at,
    case when locked & 8 = 0 and $2 = 1 then ended_at
         when locked & 8 = 0 then coalesce(ended_at, old_ended_at)
         when late then old_ended_at
         else coalesce(old_ended_at, ended_at) end as ended_at,
    case when $2 = 3 then history_fields | fields else history_fields end as history_fields,
    case when $2 = 2 then push_fields | fields else push_fields end as push_fields,
    case when $2 = 1 then greatest(observed_at, $3) else observed_at end as observed_at
  from old
),
updated as (
  update conftrack.conference c
  set room = n.room, title = n.title, started_at = n.started_at, ended_at = n.ended_at, listed = true, sensitive = n.hushed,
      history_fields = n.history_fields, push_fields = n.push_fields, observed_at = n.observed_at
  from new n
  where c.conference_id = n.conference_id
    and (c.room, c.title, c.started_at, c.ended_at, c.listed, c.sensitive, c.history_fields, c.push_fields)
        is distinct from (n.room, n.title, n.started_at, n.ended_at, true, n.hushed, n.history_fields, n.push_fields)
  returning c.conference_id
),
seen as (
  -- A newer snapshot that changes nothing is still the newest.
  update conftrack.conference c
  set observed_at = n.observed_at
  from new n
  where $2 = 1 and c.conference_id = n.conference_id and c.observed_at is distinct from n.observed_at
    and not exists (select from updated u where u.conference_id = n.conference_id)
),
inserted as (
  insert into conftrack.conference (
    source_id, external_id, room, title, started_at, ended_at, listed, sensitive, history_fields, push_fields, observed_at
  )
  select $1, s.external_id, s.room, s.title, s.started_at, s.ended_at, true, s.sensitive,
    case when $2 = 3 then s.fields else 0 end, case when $2 = 2 then s.fields else 0 end,
    case when $2 = 1 then $3 end
  from staged s
  where not exists (
    select from conftrack.conference c where c.source_id = $1 and c.external_id = s.external_id
  )
  returning conference_id
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select conference_id from updated union all select conference_id from inserted
)
select (select count(*) from inserted) as inserted, (select count(*) from updated) as updated;

-- name: find_leg
-- Which of these legs are here already. hushed: who it was may not be told again, since the meeting is sensitive or the
-- person was erased, of which there are few.
-- $1 source_id  $2 external_ids
select l.external_id,
  coalesce(l.caller_id in (select k.caller_id from conftrack.caller k where k.erased), false)
    or l.conference_id in (select c.conference_id from conftrack.conference c where c.sensitive) as hushed
from conftrack.leg l
where l.source_id = $1 and l.external_id = any($2::text[]);

-- name: find_alias
-- Which of these addresses belong to an endpoint.
-- $1 identities
select alias from conftrack.alias where alias = any($1::text[]);

-- name: keep_person
-- The names behind pseudonyms, and when they were seen; not of whom was seen last before the limit.
-- $1 caller_ids, ascending  $2 names  $3 first seen  $4 last seen  $5 limit
insert into conftrack_names.person as p (caller_id, name, first_seen_at, last_seen_at)
select x.caller_id, x.name, x.first_seen_at, x.last_seen_at
from unnest($1::integer[], $2::text[], $3::timestamptz[], $4::timestamptz[]) x (caller_id, name, first_seen_at, last_seen_at)
join conftrack.caller k on k.caller_id = x.caller_id and not k.erased
where x.last_seen_at >= $5
order by x.caller_id
on conflict (caller_id) do update
set first_seen_at = least(p.first_seen_at, excluded.first_seen_at),
  last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at)
where (p.first_seen_at, p.last_seen_at)
  is distinct from (least(p.first_seen_at, excluded.first_seen_at), greatest(p.last_seen_at, excluded.last_seen_at));

-- name: add_caller
-- Identities not known here, matched to the inventory by exact alias.
-- $1 identities  $2 whether each is a person's name
insert into conftrack.caller (identity, personal, endpoint_id)
select x.identity, bool_and(x.personal), min(a.endpoint_id)
from unnest($1::text[], $2::boolean[]) x (identity, personal)
left join conftrack.alias a on a.alias = x.identity
group by x.identity
order by x.identity
on conflict (identity) do nothing;

-- name: find_caller
-- (limit 1 keeps it a look-up a row.)
-- $1 identities
select x.identity, k.caller_id
from unnest($1::text[]) x (identity)
cross join lateral (select caller_id from conftrack.caller where identity = x.identity limit 1) k;

-- name: add_leg_conference
-- The conferences that legs name and we do not have, to be filled in when they are listed.
-- $1 source_id  $2 external_ids  $3 rooms
insert into conftrack.conference (source_id, external_id, room, listed)
select $1, x.external_id, min(x.room), false
from unnest($2::text[], $3::text[]) x (external_id, room)
group by x.external_id
order by x.external_id
on conflict (source_id, external_id) do nothing;

-- name: find_conference
-- (limit 1 keeps it a look-up a row.)
-- $1 source_id  $2 external_ids
select x.external_id, c.conference_id, c.sensitive
from unnest($2::text[]) x (external_id)
cross join lateral (
  select conference_id, sensitive from conftrack.conference where source_id = $1 and external_id = x.external_id limit 1
) c;

-- name: mark_conference
-- $1 conference_ids
insert into conftrack.dirty_conference (conference_id) select unnest($1::bigint[]);

-- name: link_leg
-- Legs that stand for themselves, because they did not say which record they are of, find the one that names them.
-- $1 source_id  $2 external_ids of legs  $3 external_ids of the records, one a leg
with named as (
  select s.conference_id as stand_in, c.conference_id
  from unnest($2::text[], $3::text[]) n (leg, record)
  cross join lateral (
    select conference_id from conftrack.conference where source_id = $1 and external_id = '~' || n.leg limit 1
  ) s
  join conftrack.conference c on c.source_id = $1 and c.external_id = n.record
  where exists (select from conftrack.conference where source_id = $1 and external_id > '~')  -- there is any at all
),
linked as (
  update conftrack.leg l
  set conference_id = n.conference_id
  from named n
  where l.conference_id = n.stand_in
)
insert into conftrack.dirty_conference (conference_id)
select stand_in from named
union
select conference_id from named;

-- name: merge_leg
-- Staged legs that are here already into what is known of them; returns how many changed.
-- $1 source_id  $2 origin (1 live, 2 push, 3 history)  $3 observed_at
with old as (
  select s.*, l.leg_id, l.observed_at, l.history_fields, l.push_fields,
    l.conference_id as old_conference_id, l.caller_id as old_caller_id, l.protocol as old_protocol,
    l.direction as old_direction, l.joined_at as old_joined_at, l.left_at as old_left_at,
    l.end_class as old_end_class, l.end_reason as old_end_reason, l.excluded as old_excluded,
    l.rx_bitrate as old_rx_bitrate, l.tx_bitrate as old_tx_bitrate, l.rx_loss as old_rx_loss,
    l.tx_loss as old_tx_loss, l.jitter_seconds as old_jitter_seconds, l.latency_seconds as old_latency_seconds,
    case when l.history_fields = -1 then k.fields else l.history_fields end as old_history_fields,
    case when l.push_fields = -1 then k.fields else l.push_fields end as old_push_fields
  from stage_leg s
  join conftrack.leg l on l.source_id = $1 and l.external_id = s.external_id
  cross join lateral (
    select conftrack.known_fields(
      l.conference_id, l.caller_id, l.protocol, l.direction, l.joined_at, l.left_at, l.end_class, l.end_reason,
      l.excluded, l.rx_bitrate, l.tx_bitrate, l.rx_loss, l.tx_loss, l.jitter_seconds, l.latency_seconds
    ) as fields
  ) k
),
ruled as (
  select old.*,
    case
      when $2 = 3 then 0
      -- The first end that was pushed stands, with the cause that was pushed: a later one (a second "unpublished") is
      -- its echo.
      when $2 = 2 then old_history_fields
        | case when old_push_fields & 32 <> 0 and (left_at > old_left_at or old_history_fields & 32 <> 0)
            then old_push_fields & (32 | 64 | 128) else 0 end
      -- A snapshot from before the newest one fills in what is not known, and may know of an earlier join.
      when observed_at > $3 then ~16 | old_history_fields | old_push_fields
      else old_history_fields | old_push_fields
    end as locked,
    $2 = 1 and observed_at > $3 as late
  from old
),
new as (
  select leg_id, old_conference_id,
    -- Live says that it is up: that undoes an end which only live had concluded.
    case when locked & 1 = 0 then coalesce(conference_id, old_conference_id)
         else coalesce(old_conference_id, conference_id) end as conference_id,
    case when locked & 2 = 0 then coalesce(caller_id, old_caller_id)
         else coalesce(old_caller_id, caller_id) end as caller_id,
    case when locked & 4 = 0 then coalesce(protocol, old_protocol)
         else coalesce(old_protocol, protocol) end as protocol,
    case when locked & 8 = 0 then coalesce(direction, old_direction)
         else coalesce(old_direction, direction) end as direction,
    case when locked & 16 = 0 and $2 = 1 then least(joined_at, old_joined_at)
         when locked & 16 = 0 then coalesce(joined_at, old_joined_at)
         else coalesce(old_joined_at, joined_at) end as joined_at,
    case when locked & 32 = 0 and $2 = 1 then left_at
         when locked & 32 = 0 then coalesce(left_at, old_left_at)
         when late then old_left_at
         else coalesce(old_left_at, left_at) end as left_at,
    case when locked & 64 = 0 and $2 = 1 then end_class
         when locked & 64 = 0 then coalesce(end_class, old_end_class)
         when late then old_end_class
         else coalesce(old_end_class, end_class) end as end_class,
    case when locked & 128 = 0 and $2 = 1 then end_reason
         when locked & 128 = 0 then coalesce(end_reason, old_end_reason)
         when late then old_end_reason
         else coalesce(old_end_reason, end_reason) end as end_reason,
    case when locked & 256 = 0 then excluded else old_excluded end as excluded,
    case when locked & 512 = 0 then coalesce(rx_bitrate, old_rx_bitrate)
         else coalesce(old_rx_bitrate, rx_bitrate) end as rx_bitrate,
    case when locked & 1024 = 0 then coalesce(tx_bitrate, old_tx_bitrate)
         else coalesce(old_tx_bitrate, tx_bitrate) end as tx_bitrate,
    case when locked & 2048 = 0 then coalesce(rx_loss, old_rx_loss)
         else coalesce(old_rx_loss, rx_loss) end as rx_loss,
    case when locked & 4096 = 0 then coalesce(tx_loss, old_tx_loss)
         else coalesce(old_tx_loss, tx_loss) end as tx_loss,
    case when locked & 8192 = 0 then coalesce(jitter_seconds, old_jitter_seconds)
         else coalesce(old_jitter_seconds, jitter_seconds) end as jitter_seconds,
    case when locked & 16384 = 0 then coalesce(latency_seconds, old_latency_seconds)
         else coalesce(old_latency_seconds, latency_seconds) end as latency_seconds,
    -- -1 stays while one origin alone has spoken.
    case when $2 <> 3 then old_history_fields
         when history_fields = -1 then -1 else history_fields | fields end as history_fields,
    case when $2 <> 2 then old_push_fields
         when push_fields = -1 then -1 else push_fields | fields end as push_fields,
    case when $2 = 1 then greatest(observed_at, $3) else observed_at end as observed_at
  from ruled
),
updated as (
  update conftrack.leg l
  set conference_id = n.conference_id, caller_id = n.caller_id, protocol = n.protocol, direction = n.direction,
      joined_at = n.joined_at, left_at = n.left_at, end_class = n.end_class, end_reason = n.end_reason,
      excluded = n.excluded, rx_bitrate = n.rx_bitrate, tx_bitrate = n.tx_bitrate, rx_loss = n.rx_loss,
      tx_loss = n.tx_loss, jitter_seconds = n.jitter_seconds, latency_seconds = n.latency_seconds,
      history_fields = n.history_fields, push_fields = n.push_fields, observed_at = n.observed_at
  from new n
  where l.leg_id = n.leg_id
    and (
      (l.conference_id, l.caller_id, l.protocol, l.direction, l.joined_at, l.left_at, l.end_class, l.end_reason,
       l.excluded, l.rx_bitrate, l.tx_bitrate, l.rx_loss, l.tx_loss, l.jitter_seconds, l.latency_seconds)
      is distinct from
      (n.conference_id, n.caller_id, n.protocol, n.direction, n.joined_at, n.left_at, n.end_class, n.end_reason,
       n.excluded, n.rx_bitrate, n.tx_bitrate, n.rx_loss, n.tx_loss, n.jitter_seconds, n.latency_seconds)
      or ($2 = 3 and n.history_fields <> l.history_fields)
      or ($2 = 2 and n.push_fields <> l.push_fields)
    )
  returning l.leg_id, n.conference_id, n.old_conference_id
),
seen as (
  -- A newer snapshot that changes nothing is still the newest.
  update conftrack.leg l
  set observed_at = n.observed_at
  from new n
  where $2 = 1 and l.leg_id = n.leg_id and l.observed_at is distinct from n.observed_at
    and not exists (select from updated u where u.leg_id = n.leg_id)
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select conference_id from updated union select old_conference_id from updated
)
select count(*) from updated;

-- name: close_restarted
-- The system restarted: its open legs that joined before are over, and dropped. Each was there when the last snapshot
-- was taken, or it would not be open; without a snapshot since it joined, it lasted until the restart.
-- $1 source_id  $2 restarted_at
with live as (
  select max(last_success_at) as seen_at from conftrack.cursor where source_id = $1 and stream = 'live'
),
closed as (
  update conftrack.leg l
  set left_at = case when greatest(l.observed_at, live.seen_at) >= l.joined_at
                     then least(greatest(l.observed_at, live.seen_at), $2) else $2 end,
      end_class = 'dropped', push_fields = l.push_fields | 32 | 64
  from live
  where l.source_id = $1 and l.left_at is null and l.joined_at < $2
  returning l.conference_id
),
marked as (
  insert into conftrack.dirty_conference (conference_id)
  select distinct conference_id from closed
)
select count(*) from closed;

-- name: keep_rejected
-- A record that did not decode; returns a row only when it is new.
-- $1 source_id  $2 stream  $3 external_id  $4 position  $5 raw  $6 error  $7 now
insert into conftrack.rejected (source_id, stream, external_id, position, raw, error, first_seen_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (source_id, stream, digest) do nothing
returning rejected_id;

-- name: settle_rejected
-- What was rejected before and has now come in readable.
-- $1 source_id  $2 stream  $3 external_ids
delete from conftrack.rejected
where source_id = $1 and stream = $2 and external_id = any($3::text[]);

-- name: advance_cursor
-- $1 source_id  $2 stream  $3 reached_at, or null to leave it  $4 now (a cursor in the future would stop a stream silently)
insert into conftrack.cursor as c (source_id, stream, reached_at, last_success_at)
values ($1, $2, case when $3::timestamptz is not null then least($3, $4) end, $4)  -- least() passes over a null
on conflict (source_id, stream) do update
set reached_at = greatest(c.reached_at, excluded.reached_at), last_success_at = excluded.last_success_at, last_error = null;

-- name: advance_backfill
-- $1 source_id  $2 stream  $3 since  $4 until  $5 reached_at
insert into conftrack.backfill as b (source_id, stream, since, until, reached_at)
values ($1, $2, $3, $4, $5)
on conflict (source_id, stream, since, until) do update set reached_at = greatest(b.reached_at, excluded.reached_at);

-- name: record_failure
-- $1 source_id  $2 stream  $3 now  $4 error
insert into conftrack.cursor as c (source_id, stream, last_failure_at, last_error)
values ($1, $2, $3, $4)
on conflict (source_id, stream) do update
set last_failure_at = excluded.last_failure_at, last_error = excluded.last_error;

-- name: record_run
-- $1 source_id  $2 stream  $3 now  $4 polls  $5 failures  $6 inserted  $7 updated  $8 unchanged  $9 rejected
insert into conftrack.run as r (source_id, stream, hour, polls, failures, inserted, updated, unchanged, rejected)
values ($1, $2, date_trunc('hour', $3::timestamptz), $4, $5, $6, $7, $8, $9)
on conflict (source_id, stream, hour) do update
set polls = r.polls + excluded.polls, failures = r.failures + excluded.failures,
    inserted = r.inserted + excluded.inserted, updated = r.updated + excluded.updated,
    unchanged = r.unchanged + excluded.unchanged, rejected = r.rejected + excluded.rejected;

-- name: certify_window
-- The source's total of a window beside what is stored of it (records kept as rejected are stored too).
-- $1 source_id  $2 stream  $3 since  $4 until  $5 source_total  $6 stored_total  $7 now
insert into conftrack.completeness as c (
  source_id, stream, hour, since, until, source_total, stored_total, windows, short_windows, checked_at
)
values (
  $1, $2, date_trunc('hour', coalesce($3::timestamptz, $4)), $3, $4, $5, $6, 1, ($6::bigint < coalesce($5::bigint, $6::bigint))::integer, $7
)
on conflict (source_id, stream, hour) do update
set since = excluded.since, until = excluded.until, source_total = excluded.source_total,
    stored_total = excluded.stored_total, windows = c.windows + 1,
    short_windows = c.short_windows + excluded.short_windows, checked_at = excluded.checked_at;
