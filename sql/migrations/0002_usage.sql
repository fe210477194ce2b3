-- Usage: the figures of days and months, always computed again from the facts, never adjusted in place.

create table conftrack.incident (
  incident_id bigint generated always as identity primary key,
  source_id smallint references conftrack.source,
  endpoint_id integer references conftrack.endpoint,
  meeting_id bigint,
  kind text not null,
  end_class text,
  end_reason text,
  opened_at timestamptz not null,
  closed_at timestamptz,
  constraint incident_closes_after_opening check (closed_at >= opened_at)
);
comment on table conftrack.incident is 'One episode of an endpoint failing (sự cố).';
create index incident_of_endpoint on conftrack.incident (endpoint_id, opened_at);

create table conftrack.usage_day (
  period date not null,
  source_id smallint,
  org_unit_id integer,
  meetings bigint not null,
  endpoints bigint not null,
  endpoint_connections bigint not null,
  legs bigint not null,
  attendees bigint not null,
  meeting_seconds double precision not null,
  leg_seconds double precision not null,
  peak_legs bigint not null,
  failed_connections bigint not null,
  constraint usage_day_once unique nulls not distinct (period, source_id, org_unit_id)
);
comment on table conftrack.usage_day is 'Usage of one local day; source_id null: of all sources; org_unit_id null: of all, else of the unit and everything below it.';

create table conftrack.usage_month (like conftrack.usage_day including all);
comment on table conftrack.usage_month is 'Usage of one local month (period: its first day); null as in usage_day. endpoints is distinct over the month.';

-- Every unit with each unit above it, itself included.
create view conftrack.org_ancestor as
with recursive up (org_unit_id, ancestor_id) as (
  select org_unit_id, org_unit_id from conftrack.org_unit
  union
  select up.org_unit_id, parent.parent_id
  from up
  join conftrack.org_unit parent on parent.org_unit_id = up.ancestor_id
  where parent.parent_id is not null
)
select org_unit_id, ancestor_id from up;
comment on view conftrack.org_ancestor is 'Every org unit with each unit above it, itself included.';

-- The sources that a figure of `source_id` counts for: itself, and all (scope null). While there is only one source,
-- "all" is left out: it is the same figures, and they are copied (queries/usage.sql).
create view conftrack.source_scope as
select source_id, source_id as scope from conftrack.source
union all
select source_id, null from conftrack.source where (select count(*) from conftrack.source) > 1;
comment on view conftrack.source_scope is 'The sources a source''s figures count for.';

-- The legs that figures count: people who were up, each once.
create view conftrack.counted_leg as
select
  l.leg_id,
  l.source_id,
  c.meeting_id,
  l.caller_id,
  k.endpoint_id,
  -- One number per endpoint: negative for inventory, positive for a caller without one, and far above both for a leg
  -- that shows no caller at all.
  coalesce(-k.endpoint_id::bigint, l.caller_id::bigint, l.leg_id + 4294967296) as endpoint_key,
  k.identity,
  l.joined_at,
  -- Two origins, two clocks: who left before joining was there for no time.
  case when l.left_at < l.joined_at then l.joined_at else l.left_at end as left_at
from conftrack.leg l
join conftrack.conference c on c.conference_id = l.conference_id
left join conftrack.caller k on k.caller_id = l.caller_id
where l.joined_at is not null and l.excluded is null and not l.copy;
comment on view conftrack.counted_leg is 'Legs of people that were up; copies of one leg told by several nodes are one.';

-- The attempts that failed_connections counts; busy, declined and auth are refusals, not failures.
create view conftrack.failed_leg as
select l.leg_id, l.source_id, c.meeting_id, l.caller_id, k.endpoint_id
from conftrack.leg l
join conftrack.conference c on c.conference_id = l.conference_id
left join conftrack.caller k on k.caller_id = l.caller_id
where l.joined_at is null and l.excluded is null
  and l.end_class in ('no_answer', 'unreachable', 'negotiation', 'capacity');
comment on view conftrack.failed_leg is 'Attempts that never connected because something failed.';

-- The head counts that stand, one an endpoint in a meeting (which one does: query place_headcount).
create view conftrack.standing_headcount as
select h.meeting_id, coalesce(-k.endpoint_id::bigint, h.caller_id::bigint) as endpoint_key, h.people, h.provenance
from conftrack.headcount h
join conftrack.caller k on k.caller_id = h.caller_id
where h.stands;
comment on view conftrack.standing_headcount is 'The head count that stands for an endpoint in a meeting.';
