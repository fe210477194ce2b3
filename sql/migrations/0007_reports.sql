-- Monthly reports that were closed. What was signed never changes: a correction is an addendum beside it.

create table conftrack.report (
  month date primary key,
  since date not null,
  until date not null,
  closed_at timestamptz not null,
  closed_by text not null,
  figures bytea not null,
  digest bytea generated always as (sha256(figures)) stored,
  constraint report_month_is_first_day check (extract(day from month) = 1),
  constraint report_ends_after_start check (until > since)
);
comment on table conftrack.report is 'A closed month: its figures as they were signed (JSON), of the local days [since, until). digest: SHA-256 of the figures.';

create table conftrack.report_addendum (
  month date not null references conftrack.report,
  number integer not null,
  made_at timestamptz not null,
  made_by text not null,
  figures bytea not null,
  digest bytea generated always as (sha256(figures)) stored,
  corrects bytea not null,
  primary key (month, number),
  constraint report_addendum_number_counts check (number > 0)
);
comment on table conftrack.report_addendum is 'A later correction of a closed month: the figures as they were then, whole. corrects: the digest of the figures that stood before.';

create function conftrack.keep_report()
returns trigger
language plpgsql
as $$
begin
  raise exception 'a closed report never changes' using errcode = 'restrict_violation';
end
$$;
comment on function conftrack.keep_report is 'Refuses every change to what was closed.';
create trigger report_stays before update or delete or truncate on conftrack.report
for each statement execute function conftrack.keep_report();
create trigger report_addendum_stays before update or delete or truncate on conftrack.report_addendum
for each statement execute function conftrack.keep_report();

create table conftrack.history_loss (
  source_id smallint not null references conftrack.source,
  since timestamptz not null,
  until timestamptz not null,
  primary key (source_id, since),
  constraint history_loss_ends_after_start check (until > since)
);
comment on table conftrack.history_loss is 'What ended in these times was forgotten by a source before its history was read.';

create view conftrack.unseen as
select b.source_id, b.since, b.until, b.since as last_seen
from conftrack.blindness b
join conftrack.seen_until h on h.source_id = b.source_id and not h.told_later
union all
-- A history is missed only where no poll saw what it would have told.
select l.source_id, greatest(l.since, b.since), least(l.until, b.until), b.since
from conftrack.history_loss l
join conftrack.blindness b on b.source_id = l.source_id and b.since < l.until and l.since < b.until
union all
select l.source_id, l.since, l.until, l.since
from conftrack.history_loss l
where not exists (
  select from conftrack.cursor c
  where c.source_id = l.source_id and c.stream = 'live' and c.reached_at is not null
);
comment on view conftrack.unseen is 'Times of which nothing will ever be known of a source: no poll saw it, and no history told later. last_seen: the last look before.';

create table conftrack.endpoint_former (
  endpoint_id integer not null references conftrack.endpoint on delete cascade,
  valid_to date not null,
  org_unit_id integer references conftrack.org_unit,
  primary key (endpoint_id, valid_to)
);
comment on table conftrack.endpoint_former is 'The unit an endpoint belonged to before the one it has now, a row a period: until valid_to, the first day in another.';

-- The presence of an endpoint in a meeting, which endpoint_connections shows with names.
create view conftrack.presence as
with leg as (
  select
    l.*,
    -- A new stretch begins where everything before it ended more than 5 minutes ago.
    l.joined_at > max(coalesce(l.left_at, 'infinity')) over earlier + interval '5 minutes' as apart
  from conftrack.counted_leg l
  window earlier as (
    partition by l.meeting_id, l.endpoint_key order by l.joined_at, l.left_at, l.leg_id
    rows between unbounded preceding and 1 preceding
  )
),
numbered as (
  select leg.*, count(*) filter (where apart) over (
    partition by meeting_id, endpoint_key order by joined_at, left_at, leg_id
  ) as stretch
  from leg
),
stretch as (
  select
    meeting_id, endpoint_key, stretch,
    min(source_id) as source_id, min(endpoint_id) as endpoint_id, min(identity) as identity,
    min(joined_at) as joined_at,
    case when bool_and(left_at is not null) then max(left_at) end as left_at,
    count(*) as legs,
    sum(left_at - joined_at) as leg_time
  from numbered
  group by meeting_id, endpoint_key, stretch
),
connection as (
  select
    meeting_id, endpoint_key,
    min(source_id) as source_id, min(endpoint_id) as endpoint_id, min(identity) as identity,
    min(joined_at) as joined_at,
    case when bool_and(left_at is not null) then max(left_at) end as left_at,
    extract(epoch from sum(left_at - joined_at))::double precision as presence_seconds,
    sum(legs)::integer as legs,
    coalesce(extract(epoch from sum(leg_time)), 0)::double precision as leg_seconds
  from stretch
  group by meeting_id, endpoint_key
)
select
  c.meeting_id,
  c.endpoint_key,
  c.source_id,
  c.endpoint_id,
  c.identity,
  c.joined_at,
  c.left_at,
  case when c.left_at is not null then c.presence_seconds end as presence_seconds,
  c.legs,
  c.leg_seconds,
  case when m.ended_at is not null then
    c.presence_seconds >= least(300, 0.1 * extract(epoch from m.ended_at - m.started_at))
  end as attended,
  case when m.ended_at is not null then
    c.presence_seconds >= 0.85 * extract(epoch from m.ended_at - m.started_at)
  end as full_attendance,
  coalesce(h.people, 1) as attendees,
  coalesce(h.provenance, 'connections') as provenance
from connection c
join conftrack.meeting m on m.meeting_id = c.meeting_id
left join conftrack.standing_headcount h on h.meeting_id = c.meeting_id and h.endpoint_key = c.endpoint_key;
comment on view conftrack.presence is 'One endpoint in one meeting: the union of its legs, gaps up to 5 minutes bridged; leg_seconds: its legs that ended, added up.';

create or replace view conftrack.endpoint_connections as
select
  p.meeting_id,
  s.name as source,
  e.code as endpoint,
  u.code as org,
  p.identity,
  p.joined_at,
  p.left_at,
  p.presence_seconds,
  p.legs,
  p.attended,
  p.full_attendance,
  p.attendees,
  p.provenance
from conftrack.presence p
join conftrack.source s on s.source_id = p.source_id
left join conftrack.endpoint e on e.endpoint_id = p.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;

-- Of a month, whatever stands before and after it.
create index incident_of_registration_time on conftrack.incident using gist (tstzrange(opened_at, closed_at, '[]'))
where kind = 'unregistered';
create index blindness_of_time on conftrack.blindness using gist (tstzrange(since, until));
create index rejected_of_time on conftrack.rejected (source_id, coalesce(position, first_seen_at));
