-- Who is expected where, what an endpoint's failing is made of, and what operators say about it.

-- Expected sites ----------------------------------------------------------------------------------------------

create table conftrack.invitation (
  invitation_id bigint generated always as identity primary key,
  uid text not null,
  source_id smallint references conftrack.source,
  room text not null,
  title text,
  starts_at timestamptz,
  ends_at timestamptz,
  origin text not null,
  known_at timestamptz not null,
  constraint invitation_once unique (uid),
  constraint invitation_ends_after_start check (ends_at > starts_at),
  constraint invitation_origin_known check (origin in ('file', 'calendar', 'source'))
);
comment on table conftrack.invitation is 'Who is invited to a room (thành phần mời): to one meeting, or (starts_at null) to every meeting of it that goes on after known_at. source_id null: whichever system the room is on. uid: what the file or calendar calls it.';
create index invitation_of_room on conftrack.invitation (room, starts_at);

create table conftrack.expected (
  invitation_id bigint not null references conftrack.invitation on delete cascade,
  endpoint_id integer not null references conftrack.endpoint,
  excused_at timestamptz,
  excused_by text,
  excused_reason text,
  primary key (invitation_id, endpoint_id),
  constraint expected_excused_whole check (num_nulls(excused_at, excused_by, excused_reason) in (0, 3))
);
comment on table conftrack.expected is 'An endpoint that was invited, and why it may stay away.';
create index expected_of_endpoint on conftrack.expected (endpoint_id);

alter table conftrack.meeting add column invitation_id bigint;
comment on column conftrack.meeting.invitation_id is 'Derived: the invitation this meeting is held on (see queries/incidents.sql).';
create index meeting_of_invitation on conftrack.meeting (invitation_id);

create table conftrack.maintenance (
  maintenance_id bigint generated always as identity primary key,
  endpoint_id integer references conftrack.endpoint,
  org_unit_id integer references conftrack.org_unit,
  source_id smallint references conftrack.source,
  carrier text,
  area text,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  repeats text,
  expires_at timestamptz not null,
  author text not null,
  reason text not null,
  created_at timestamptz not null,
  cancelled_at timestamptz,
  cancelled_by text,
  constraint maintenance_of_one_scope check (num_nonnulls(endpoint_id, org_unit_id, source_id, carrier, area) = 1),
  constraint maintenance_ends_after_start check (ends_at > starts_at),
  constraint maintenance_expires check (expires_at >= ends_at)
);
comment on table conftrack.maintenance is 'A maintenance window of an endpoint, a unit and all below it, a source, a carrier or an area; repeats: an iCalendar RRULE by which [starts_at, ends_at) comes again until expires_at. What is cancelled ends at cancelled_at.';

-- What only live polls see ------------------------------------------------------------------------------------

create table conftrack.blindness (
  source_id smallint not null references conftrack.source,
  since timestamptz not null,
  until timestamptz not null,
  primary key (source_id, since),
  constraint blindness_ends_after_start check (until > since)
);
comment on table conftrack.blindness is 'Times in which a source could not be seen: from its last good live poll to the next one, where that was too long. A state in it is unknown unless history tells.';

create view conftrack.seen_until as
select
  s.source_id,
  coalesce(max(c.reached_at) filter (where c.stream = 'live'), min(c.reached_at)) as seen_until,
  -- A history tells later what no poll saw.
  bool_or(c.stream <> 'live' and c.reached_at is not null) as told_later
from conftrack.source s
join conftrack.cursor c on c.source_id = s.source_id
group by s.source_id
having min(c.reached_at) is not null;
comment on view conftrack.seen_until is 'Up to when each source was seen: by its last good live poll, or as far as its history was read; nothing is judged after that.';

create table conftrack.quality_change (
  source_id smallint not null references conftrack.source,
  external_id text collate "C" not null,
  at timestamptz not null,
  level text not null,
  primary key (source_id, external_id, at),
  constraint quality_level_known check (level in ('good', 'fair', 'poor', 'unknown'))
);
comment on table conftrack.quality_change is 'From when on the packet loss of a leg, the worse of its directions, was at another level: good is below 2 %, poor 5 % and more.';

create table conftrack.registration (
  source_id smallint not null references conftrack.source,
  alias text collate "C" not null,
  since timestamptz not null,
  until timestamptz,
  primary key (source_id, alias, since),
  constraint registration_ends_after_start check (until > since)
);
comment on table conftrack.registration is 'When a normalised alias was listed as registered: since the first list with it, until the first one without it; until null: it is registered.';
create index registration_of_alias on conftrack.registration (alias, since);
create unique index registration_open on conftrack.registration (source_id, alias) where until is null;

create table conftrack.registrar (
  source_id smallint primary key references conftrack.source,
  read_at timestamptz not null
);
comment on table conftrack.registrar is 'The sources that tell who is registered with them, and when their list was last read.';

create view conftrack.endpoint_registration as
select a.endpoint_id, r.source_id, r.since, r.until
from conftrack.registration r
join conftrack.alias a on a.alias = r.alias;
comment on view conftrack.endpoint_registration is 'When endpoints were registered, by any of their aliases.';

-- Whether an endpoint had been registered before the end of a period, and was not all through it.
create function conftrack.missed_registration(endpoint integer, since timestamptz, until timestamptz)
returns boolean
language sql stable
as $$
  select exists (
    select from conftrack.endpoint_registration r
    where r.endpoint_id = $1 and r.until < $3
  ) and not exists (
    select from conftrack.endpoint_registration r
    where r.endpoint_id = $1 and r.since <= $2 and (r.until is null or r.until >= $3)
  )
$$;

-- Incidents ---------------------------------------------------------------------------------------------------

alter table conftrack.incident
  add column caller_id integer references conftrack.caller,
  add column invitation_id bigint references conftrack.invitation on delete cascade,
  add column parent_id bigint references conftrack.incident on delete set null,
  add column org_unit_id integer references conftrack.org_unit,
  add column carrier text,
  add column area text,
  add column day date,
  add column owner text,
  add column acknowledged_at timestamptz,
  add column acknowledged_by text,
  add column withdrawn_at timestamptz,
  add constraint incident_kind_known check (
    kind in ('connect_failed', 'dropped', 'absent', 'flapping', 'quality', 'unregistered', 'outage')
  ),
  add constraint incident_owner_known check (owner in ('power', 'line', 'carrier', 'device', 'user', 'platform'));
comment on table conftrack.incident is 'Derived: one episode of an endpoint failing (sự cố). Of an endpoint of the inventory, or of a caller outside it; kind outage: of an org unit, carrier or area, and parent of the incidents in it. day: the local day it belongs to. owner: whose fault an operator says it is. withdrawn_at: later facts showed that it never was; kept because somebody wrote about it.';
create index incident_of_meeting on conftrack.incident (meeting_id);
create index incident_of_invitation on conftrack.incident (invitation_id);
create index incident_of_day on conftrack.incident (day);
create index incident_of_parent on conftrack.incident (parent_id);
create index incident_of_registration on conftrack.incident (endpoint_id, opened_at) where kind = 'unregistered';
create index incident_open on conftrack.incident (opened_at) where closed_at is null;

create table conftrack.incident_note (
  note_id bigint generated always as identity primary key,
  incident_id bigint not null references conftrack.incident on delete cascade,
  at timestamptz not null,
  author text not null,
  text text not null
);
comment on table conftrack.incident_note is 'What operators wrote about an incident.';
create index incident_note_of_incident on conftrack.incident_note (incident_id);

create table conftrack.incident_day (
  period date not null,
  source_id smallint,
  org_unit_id integer,
  incidents bigint not null,
  constraint incident_day_once unique nulls not distinct (period, source_id, org_unit_id)
);
comment on table conftrack.incident_day is 'Incidents of endpoints of one local day, outages not counted beside those in them; nulls as in usage_day.';

create table conftrack.dirty_incident (
  meeting_id bigint,
  invitation_id bigint,
  endpoint_id integer,
  due_at timestamptz,
  constraint dirty_incident_of_one check (num_nonnulls(meeting_id, invitation_id, endpoint_id) = 1)
);
comment on table conftrack.dirty_incident is 'Meetings, invitations to one that nobody came to, and endpoints by their registrations, whose incidents must be derived again; due_at: not before the source was seen at this moment.';
create index dirty_incident_due on conftrack.dirty_incident (due_at);
insert into conftrack.dirty_incident (meeting_id) select meeting_id from conftrack.meeting;

-- Who is signed in --------------------------------------------------------------------------------------------

create table conftrack.web_session (
  digest bytea primary key,
  username text not null,
  created_at timestamptz not null,
  seen_at timestamptz not null,
  expires_at timestamptz not null
);
comment on table conftrack.web_session is 'Sessions of people who signed in; digest: SHA-256 of the cookie, which is not kept.';

-- What people and tools read ----------------------------------------------------------------------------------

create or replace view conftrack.meetings as
select
  m.meeting_id,
  s.name as source,
  m.external_id,
  m.room,
  coalesce(m.title, i.title) as title,
  null::text as host_org,
  i.starts_at as scheduled_start,
  i.ends_at as scheduled_end,
  m.started_at,
  m.ended_at,
  extract(epoch from m.ended_at - m.started_at)::double precision as duration_seconds,
  m.endpoint_count,
  m.leg_count,
  m.attendees,
  m.day
from conftrack.meeting m
join conftrack.source s on s.source_id = m.source_id
left join conftrack.invitation i on i.invitation_id = m.invitation_id
where m.started_at is not null;

create or replace view conftrack.incidents as
select
  i.incident_id,
  s.name as source,
  e.code as endpoint,
  u.code as org,
  i.meeting_id,
  i.kind,
  i.end_class,
  i.end_reason,
  i.opened_at,
  i.closed_at,
  extract(epoch from i.closed_at - i.opened_at)::double precision as duration_seconds,
  case when e.endpoint_id is null then k.identity end as identity,
  i.invitation_id,
  i.parent_id,
  coalesce(i.carrier, e.carrier) as carrier,
  coalesce(i.area, e.area) as area,
  i.day,
  i.owner,
  i.acknowledged_at,
  i.acknowledged_by
from conftrack.incident i
left join conftrack.source s on s.source_id = i.source_id
left join conftrack.caller k on k.caller_id = i.caller_id
left join conftrack.endpoint e on e.endpoint_id = coalesce(i.endpoint_id, k.endpoint_id)
left join conftrack.org_unit u on u.org_unit_id = coalesce(i.org_unit_id, e.org_unit_id)
where i.withdrawn_at is null;
comment on view conftrack.incidents is 'Episodes of an endpoint failing (sự cố); closed_at null: going on. identity: the caller, where the inventory does not know it. kind outage: of a unit, carrier or area; parent_id: the outage that an incident is part of. owner: whose fault an operator says it is.';

create view conftrack.expected_endpoints as
select
  i.invitation_id,
  m.meeting_id,
  s.name as source,
  i.room,
  coalesce(m.title, i.title) as title,
  i.starts_at,
  i.ends_at,
  e.code as endpoint,
  u.code as org,
  p.joined_at,
  p.left_at,
  x.excused_at,
  x.excused_reason
from conftrack.invitation i
join conftrack.expected x on x.invitation_id = i.invitation_id
join conftrack.endpoint e on e.endpoint_id = x.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id
left join conftrack.meeting m on m.invitation_id = i.invitation_id and m.started_at is not null
left join conftrack.source s on s.source_id = coalesce(m.source_id, i.source_id)
left join lateral (
  -- By the endpoint's addresses: each has few legs at that time, the meeting may have thousands.
  select min(l.joined_at) as joined_at, case when not bool_or(l.left_at is null) then max(l.left_at) end as left_at
  from conftrack.caller k
  join conftrack.leg l on l.caller_id = k.caller_id and l.joined_at between m.span_from and m.span_to
  join conftrack.conference c on c.conference_id = l.conference_id and c.meeting_id = m.meeting_id
  where k.endpoint_id = x.endpoint_id and l.excluded is null and not l.copy
) p on true;
comment on view conftrack.expected_endpoints is 'Who was invited to which meeting (thành phần mời), when they were there first and last; meeting_id null: nobody has come yet.';

create view conftrack.maintenance_windows as
select
  w.maintenance_id,
  e.code as endpoint,
  u.code as org,
  s.name as source,
  w.carrier,
  w.area,
  w.starts_at,
  w.ends_at,
  w.repeats,
  w.expires_at,
  w.author,
  w.reason,
  w.cancelled_at
from conftrack.maintenance w
left join conftrack.endpoint e on e.endpoint_id = w.endpoint_id
left join conftrack.org_unit u on u.org_unit_id = w.org_unit_id
left join conftrack.source s on s.source_id = w.source_id;
comment on view conftrack.maintenance_windows is 'Planned work: in these windows nothing is an incident. repeats: the RRULE by which the first window comes again until expires_at.';

create or replace view conftrack.usage_daily as
select
  f.period as day,
  s.name as source,
  u.code as org,
  f.meetings, f.endpoints, f.endpoint_connections, f.legs, f.attendees, f.meeting_seconds, f.leg_seconds,
  f.peak_legs, f.failed_connections,
  coalesce(i.incidents, 0) as incidents
from conftrack.usage_day f
left join conftrack.source s on s.source_id = f.source_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id
left join conftrack.incident_day i
  on i.period = f.period and i.source_id is not distinct from f.source_id
  and i.org_unit_id is not distinct from f.org_unit_id;

create or replace view conftrack.usage_monthly as
select
  f.period as month,
  s.name as source,
  u.code as org,
  f.meetings, f.endpoints, f.endpoint_connections, f.legs, f.attendees, f.meeting_seconds, f.leg_seconds,
  f.peak_legs, f.failed_connections,
  coalesce(i.incidents, 0)::bigint as incidents
from conftrack.usage_month f
left join conftrack.source s on s.source_id = f.source_id
left join conftrack.org_unit u on u.org_unit_id = f.org_unit_id
left join (
  select date_trunc('month', period::timestamp)::date as period, source_id, org_unit_id, sum(incidents) as incidents
  from conftrack.incident_day
  group by 1, 2, 3
) i on i.period = f.period and i.source_id is not distinct from f.source_id
  and i.org_unit_id is not distinct from f.org_unit_id;
comment on view conftrack.usage_monthly is 'Usage by local month (its first day); source null: all; org null: all, else the unit and all below it. incidents: of endpoints, those that opened in its meetings.';

create or replace procedure conftrack.grant_reader()
language plpgsql
as $$
begin
  revoke execute on all routines in schema conftrack from public;
  if exists (select from pg_roles where rolname = 'conftrack_reader') then
    grant usage on schema conftrack to conftrack_reader;
    grant select on
      conftrack.org_units, conftrack.endpoints, conftrack.meetings, conftrack.legs, conftrack.endpoint_connections,
      conftrack.attendance, conftrack.incidents, conftrack.usage_daily, conftrack.usage_monthly,
      conftrack.source_status, conftrack.expected_endpoints, conftrack.maintenance_windows
    to conftrack_reader;
  end if;
end
$$;
