-- Reports by mail.

-- name: find_prepared_month
select max(month) from conftrack.report_month;

-- name: keep_prepared_month
-- Returns nothing where it was prepared before.
-- $1 month  $2 when it was due  $3 moment  $4 nobody gets it
insert into conftrack.report_month (month, due_at, prepared_at, skipped)
values ($1, $2, $3, $4)
on conflict (month) do nothing
returning month;

-- name: find_edition
-- 0: the month is not closed; 1: closed; 1 + n: with addendum n.
-- $1 month
select (select count(*) from conftrack.report r where r.month = $1)::integer
  + (select count(*) from conftrack.report_addendum a where a.month = $1)::integer;

-- name: queue_mail
-- $1 month  $2 list  $3 edition  $4 addresses  $5 moment
insert into conftrack.report_mail (month, list, edition, address, changed_at)
select $1, $2, $3, x.address, $5
from unnest($4::text[]) x (address)
on conflict do nothing;

-- name: drop_waiting_mail
-- What a newer edition replaces before it went out.
-- $1 month  $2 list  $3 edition
delete from conftrack.report_mail where month = $1 and list = $2 and edition < $3 and state = 'waiting';

-- name: drop_unlisted_mail
-- What waits for addresses that are on a list no more.
-- $1 list  $2 addresses on it
delete from conftrack.report_mail where state = 'waiting' and list = $1 and address <> all($2::text[]);

-- name: list_behind_mail
-- The edition that stands, of each list that was to get an earlier one last.
select m.month, m.list, s.edition
from (
  select month, list, max(edition) as edition
  from conftrack.report_mail
  group by month, list
) m
join (
  select r.month, 1 + count(a.number)::integer as edition
  from conftrack.report r
  left join conftrack.report_addendum a on a.month = r.month
  group by r.month
) s on s.month = m.month and s.edition > m.edition
order by m.month, m.list;

-- name: find_open_mail
-- $1 lists
select exists (
  select from conftrack.report_mail where state = 'sending' or (state = 'waiting' and list = any($1::text[]))
);

-- name: list_waiting_mail
select month, list, edition, address
from conftrack.report_mail
where state = 'waiting'
order by month, list, edition, address;

-- name: commit_to_disk
set local synchronous_commit = on;

-- name: begin_mail
-- Only of what waits: who comes second gets nothing.
-- $1 month  $2 list  $3 edition  $4 addresses  $5 Message-ID  $6 moment
update conftrack.report_mail
set state = 'sending', attempt = attempt + 1, message_id = $5, answer = null, changed_at = $6
where month = $1 and list = $2 and edition = $3 and address = any($4::text[]) and state = 'waiting'
returning address, attempt;

-- name: settle_mail
-- An attempt that somebody else doubts meanwhile may still tell how it ended; an earlier one may not.
-- $1 month  $2 list  $3 edition  $4 addresses  $5 attempts  $6 state  $7 answer  $8 moment
update conftrack.report_mail m
set state = $6, answer = $7, changed_at = $8
from unnest($4::text[], $5::integer[]) x (address, attempt)
where m.month = $1 and m.list = $2 and m.edition = $3 and m.address = x.address and m.attempt = x.attempt
  and m.state in ('sending', 'unsure');

-- name: answer_mail
-- $1 month  $2 list  $3 edition  $4 addresses  $5 answers  $6 whether each is for good  $7 moment
update conftrack.report_mail m
set state = case when x.refused then 'refused' else 'waiting' end, answer = x.answer, changed_at = $7
from unnest($4::text[], $5::text[], $6::boolean[]) x (address, answer, refused)
where m.month = $1 and m.list = $2 and m.edition = $3 and m.address = x.address and m.state = 'waiting';

-- name: note_mail
-- $1 month  $2 list  $3 edition  $4 why it did not go out  $5 moment
update conftrack.report_mail
set answer = $4, changed_at = $5
where month = $1 and list = $2 and edition = $3 and state = 'waiting';

-- name: doubt_mail
-- $1 moment
with doubted as (
  update conftrack.report_mail
  set state = 'unsure', changed_at = $1
  where state = 'sending'
  returning month, list, edition
)
select month, list, edition, count(*)::integer as addresses
from doubted
group by month, list, edition
order by month, list, edition;

-- name: list_mail
-- $1 month, or null: all
select month, list, edition, address, state, attempt, changed_at, answer
from conftrack.report_mail
where $1::date is null or month = $1
order by month desc, list, edition, address;

-- name: repeat_mail
-- $1 month  $2 list  $3 edition  $4 addresses  $5 only those that were refused  $6 moment
update conftrack.report_mail
set state = 'waiting', answer = null, changed_at = $6
where month = $1 and list = $2 and edition = $3 and address = any($4::text[])
  and (state = 'refused' or (state in ('sent', 'unsure') and not $5::boolean))
returning address;
