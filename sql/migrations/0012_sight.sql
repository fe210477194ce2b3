-- How well a time was seen, in one place.

create function conftrack.sight(source smallint, since timestamptz, until timestamptz)
returns table (seen_until timestamptz, told_later boolean)
language sql stable
as $$
  select min(s.seen_until), coalesce(bool_and(s.told_later), false) and not exists (
    select from conftrack.unseen u
    where ($1 is null or u.source_id = $1) and u.until > $2 and u.since <= coalesce($3, 'infinity')
  )
  from conftrack.seen_until s
  where $1 is null or s.source_id = $1
$$;
comment on function conftrack.sight is 'Up to when a source, or every one (null), was seen; told_later: a history tells what no poll saw, and nothing between the two moments (until null: from the first on) was lost.';
