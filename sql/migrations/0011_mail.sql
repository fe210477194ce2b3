-- Reports by mail: which months were prepared, and who was sent what, so that nothing goes out twice.

create table conftrack.report_month (
  month date primary key,
  due_at timestamptz not null,
  prepared_at timestamptz not null,
  skipped boolean not null,
  constraint report_month_is_first_day check (extract(day from month) = 1)
);
comment on table conftrack.report_month is 'Months whose day of preparation has come, so that the job prepares each once. skipped: it had passed when conftrack was first told to prepare reports, or nobody was to get one.';

create table conftrack.report_mail (
  month date not null,
  edition integer not null,
  list text not null,
  address text not null,
  state text not null default 'waiting',
  attempt integer not null default 0,
  changed_at timestamptz not null,
  message_id text,
  answer text,
  primary key (month, edition, list, address),
  constraint report_mail_edition_counts check (edition >= 0),
  constraint report_mail_state_is_known check (state in ('waiting', 'sending', 'sent', 'refused', 'unsure')),
  constraint report_mail_was_tried check (attempt > 0 or state in ('waiting', 'refused'))
);
comment on table conftrack.report_mail is 'A report to one address of a list. edition: 0 before the month is closed, 1 closed, 1 + n with addendum n. state: waiting for an attempt; sending, the answer of the server is awaited; sent; refused for good, nothing was delivered; unsure, the answer was never seen: it may have been delivered, and goes out again only when a person says so. answer: what the server, or conftrack itself, said last.';
create index report_mail_open on conftrack.report_mail (month, list) where state in ('waiting', 'sending', 'unsure');
