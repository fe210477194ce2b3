-- What is kept of people: names apart from everything else, meetings of which only counts are kept, who was erased.

alter table conftrack.conference add column sensitive boolean not null default false;
comment on column conftrack.conference.sensitive is 'Neither its title nor the people in it are kept, only counts; once said of a conference it stays so.';
create index conference_sensitive on conftrack.conference (meeting_id, conference_id) where sensitive;

alter table conftrack.invitation add column sensitive boolean not null default false;
comment on column conftrack.invitation.sensitive is 'Its title is not kept, nor are the people in the meeting that is held on it.';
create index invitation_sensitive on conftrack.invitation (room) where sensitive;

alter table conftrack.caller add column erased boolean not null default false;
comment on column conftrack.caller.erased is 'Who this was has been erased on request: the identity is a random word, and legs that have it keep it.';
create index caller_erased on conftrack.caller (caller_id) where erased;

create schema conftrack_names;
comment on schema conftrack_names is 'Names of people, where [privacy] names = "keep": apart from all else, with a role of its own.';

create table conftrack_names.person (
  caller_id integer primary key references conftrack.caller on delete cascade,
  name text not null,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  constraint person_seen_in_order check (last_seen_at >= first_seen_at)
);
comment on table conftrack_names.person is 'The name behind a pseudonym, until it has not been seen for [privacy] keep_names_for.';
create index person_of_last_sight on conftrack_names.person (last_seen_at);

create view conftrack_names.people as
select k.identity, p.name, p.first_seen_at, p.last_seen_at
from conftrack_names.person p
join conftrack.caller k on k.caller_id = p.caller_id;
comment on view conftrack_names.people is 'Names of people; identity: the pseudonym that stands for them in the schema conftrack.';

create index audit_of_moment on conftrack.audit (at);
create index rejected_of_moment on conftrack.rejected (first_seen_at);
create index run_of_hour on conftrack.run (hour);

do $$
begin
  if not exists (select from pg_roles where rolname = 'conftrack_names_reader') then
    create role conftrack_names_reader nologin;
  end if;
exception
  when insufficient_privilege then
    raise warning 'role conftrack_names_reader is missing and % may not create it: create it, then run "conftrack db migrate" again', current_user;
  when duplicate_object or unique_violation then
    null;  -- another database of this server made it at the same moment
end
$$;

create procedure conftrack_names.grant_reader()
language plpgsql
as $$
begin
  revoke execute on all routines in schema conftrack_names from public;
  if exists (select from pg_roles where rolname = 'conftrack_names_reader') then
    grant usage on schema conftrack_names to conftrack_names_reader;
    grant select on conftrack_names.people to conftrack_names_reader;
  end if;
end
$$;
comment on procedure conftrack_names.grant_reader is 'Gives conftrack_names_reader the names; run after every migration, as conftrack.grant_reader is.';
