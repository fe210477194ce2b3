-- What room sensors see: how many people are in a room, minute by minute. Which meeting that was is derived.

create table conftrack.sensor (
  caller_id integer primary key references conftrack.caller
);
comment on table conftrack.sensor is 'The callers whose rooms a sensor has ever counted.';

create function conftrack.median_reading(readings smallint[])
returns smallint
language sql immutable
as $$
  -- The lower of the middle two: a number that was really read. What was not read (null) does not count.
  select percentile_disc(0.5) within group (order by people) from unnest(readings) people
$$;

create function conftrack.merge_readings(one smallint[], other smallint[])
returns smallint[]
language sql immutable
as $$
  select array_agg(greatest(o.people, t.people) order by o.second)
  from unnest(one) with ordinality o (people, second)
  join unnest(other) with ordinality t (people, second) on t.second = o.second
$$;

create table conftrack.people_minute (
  caller_id integer not null references conftrack.sensor,
  minute timestamptz not null,
  readings smallint[] not null,
  people smallint not null generated always as (conftrack.median_reading(readings)) stored,
  primary key (caller_id, minute),
  constraint people_minute_is_whole check (extract(second from minute) = 0),
  constraint people_minute_has_a_place_for_each_second check (cardinality(readings) = 60),
  constraint people_minute_not_negative check (0 <= all (array_remove(readings, null)))
);
comment on table conftrack.people_minute is 'What the sensor in a room read in one minute: readings has a place for each second, null where nothing was known, the highest where a second was read twice, so order and repetition do not matter. people: their median. A minute in which nothing was known has no row.';

-- The count that follows from the minutes stands beside what was told, and may be of the same moment.
alter table conftrack.headcount add column sensed boolean not null default false;
alter table conftrack.headcount drop constraint if exists headcount_pkey;
drop index if exists conftrack.headcount_told_once;
create unique index headcount_told_once on conftrack.headcount (source_id, room, at, caller_id, provenance, sensed);
alter table conftrack.headcount add constraint headcount_sensed_by_a_sensor check (not sensed or provenance = 'people_count');
comment on column conftrack.headcount.sensed is 'Derived from people_minute: the highest minute of the endpoint''s presence in the meeting.';
create index headcount_sensed on conftrack.headcount (meeting_id) where sensed;

-- The few legs that a look-up by when they began would not find.
create index leg_long on conftrack.leg (caller_id) where left_at is null or left_at - joined_at > interval '1 day';
