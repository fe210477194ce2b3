-- What inventory files bring: what units were before and who took over from them, endpoints out of service, and who
-- changed what.

create table conftrack.org_former (
  org_unit_id integer not null references conftrack.org_unit on delete cascade,
  valid_from date not null,
  valid_to date not null,
  name text not null,
  parent_id integer references conftrack.org_unit,
  level smallint not null,
  primary key (org_unit_id, valid_from),
  constraint org_former_ends_after_start check (valid_to > valid_from)
);
comment on table conftrack.org_former is 'What an org unit was before the form it has in org_unit: units of one code that were merged or moved, a row a period.';

create temp table renumbered on commit drop as
select u.org_unit_id as old_id, n.org_unit_id as new_id
from conftrack.org_unit u
join (
  select distinct on (code) code, org_unit_id from conftrack.org_unit order by code, valid_from desc
) n on n.code = u.code and n.org_unit_id <> u.org_unit_id;
update conftrack.org_unit u set parent_id = r.new_id from renumbered r where u.parent_id = r.old_id;
update conftrack.endpoint e set org_unit_id = r.new_id from renumbered r where e.org_unit_id = r.old_id;
with former as (
  delete from conftrack.org_unit u using renumbered r where u.org_unit_id = r.old_id
  returning r.new_id, u.valid_from, u.valid_to, u.name, u.parent_id, u.level
)
insert into conftrack.org_former (org_unit_id, valid_from, valid_to, name, parent_id, level) select * from former;

alter table conftrack.org_unit
  drop constraint org_unit_code_once_at_a_time,
  add constraint org_unit_code_once unique (code);
comment on table conftrack.org_unit is 'A node of the organisation tree (đơn vị) as it is now, or was last: valid_to is the first day without it. Figures by unit follow this tree, for the past too.';

create table conftrack.org_successor (
  org_unit_id integer not null references conftrack.org_unit on delete cascade,
  ended_on date not null,
  successor_id integer not null references conftrack.org_unit on delete cascade,
  primary key (org_unit_id, ended_on, successor_id)
);
comment on table conftrack.org_successor is 'Who took over from an org unit whose period ended on a day (its valid_to): units merge, and split.';

alter table conftrack.endpoint add column retired_on date;
comment on column conftrack.endpoint.retired_on is 'The first day out of service; null: in service. An endpoint is never deleted, because facts point at it.';

create table conftrack.audit (
  audit_id bigint generated always as identity primary key,
  at timestamptz not null,
  actor text not null,
  action text not null,
  detail jsonb not null
);
comment on table conftrack.audit is 'Who changed what by hand, and when. Names and phone numbers of people are not in it, only that they changed.';

create or replace view conftrack.org_units as
select
  u.code,
  f.name,
  p.code as parent,
  f.level,
  nullif(f.valid_from, '-infinity') as valid_from,
  nullif(f.valid_to, 'infinity') as valid_to,
  array(
    select n.code
    from conftrack.org_successor s
    join conftrack.org_unit n on n.org_unit_id = s.successor_id
    where s.org_unit_id = f.org_unit_id and s.ended_on = f.valid_to
    order by n.code
  ) as successors
from (
  select org_unit_id, name, parent_id, level, valid_from, valid_to from conftrack.org_unit
  union all
  select org_unit_id, name, parent_id, level, valid_from, valid_to from conftrack.org_former
) f
join conftrack.org_unit u on u.org_unit_id = f.org_unit_id
left join conftrack.org_unit p on p.org_unit_id = f.parent_id;
comment on view conftrack.org_units is 'The organisation tree (đơn vị), a row for each period of a unit; valid_to: the first day without it; successors: the codes of those that took over then.';

create or replace view conftrack.endpoints as
select
  e.code as endpoint,
  e.name,
  u.code as org,
  e.kind,
  e.seats,
  e.carrier,
  e.area,
  e.service_hours,
  array(select a.alias from conftrack.alias a where a.endpoint_id = e.endpoint_id order by a.alias) as aliases,
  e.retired_on
from conftrack.endpoint e
left join conftrack.org_unit u on u.org_unit_id = e.org_unit_id;
comment on view conftrack.endpoints is 'The inventory of sites (điểm cầu), without contacts; retired_on: the first day out of service.';
