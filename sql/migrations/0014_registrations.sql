-- Whether an endpoint had been registered before the end of a period, and was not all through it. The spans of one alias
-- on one system follow on each other, so of those that began before the period only the last can reach through it:
-- however long the history, it is a look-up.
create or replace function conftrack.missed_registration(endpoint integer, since timestamptz, until timestamptz)
returns boolean
language sql stable
as $$
  select exists (
    select from conftrack.endpoint_registration r
    where r.endpoint_id = $1 and r.until < $3
  ) and not exists (
    select
    from conftrack.alias a
    cross join conftrack.registrar g
    cross join lateral (
      select r.until from conftrack.registration r
      where r.source_id = g.source_id and r.alias = a.alias and r.since <= $2
      order by r.since desc
      limit 1
    ) r
    where a.endpoint_id = $1 and (r.until is null or r.until >= $3)
  )
$$;
