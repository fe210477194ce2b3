-- What people do on the pages: sign in, and say something about an incident.

-- name: open_session
-- $1 digest of the cookie  $2 user name  $3 moment  $4 when it ends at the latest
insert into conftrack.web_session (digest, username, created_at, seen_at, expires_at) values ($1, $2, $3, $3, $4);

-- name: find_session
-- One that is over is not found.
-- $1 digest of the cookie  $2 moment  $3 sessions not seen since then are over
select username, expires_at from conftrack.web_session where digest = $1 and expires_at > $2 and seen_at > $3;

-- name: touch_session
-- At most once a minute, so that reading writes little.
-- $1 digest of the cookie  $2 moment
update conftrack.web_session set seen_at = $2::timestamptz where digest = $1 and seen_at < $2::timestamptz - interval '1 minute';

-- name: close_session
-- $1 digest of the cookie
delete from conftrack.web_session where digest = $1 returning username;

-- name: drop_session
-- $1 moment  $2 sessions not seen since then are over
delete from conftrack.web_session where expires_at <= $1 or seen_at <= $2;

-- name: acknowledge_incident
-- $1 incident_id  $2 who  $3 moment
update conftrack.incident
set acknowledged_at = $3, acknowledged_by = $2
where incident_id = $1 and acknowledged_at is null and withdrawn_at is null
returning incident_id;

-- name: own_incident
-- $1 incident_id  $2 owner
update conftrack.incident set owner = $2 where incident_id = $1 and withdrawn_at is null returning incident_id;

-- name: note_incident
-- $1 incident_id  $2 moment  $3 who  $4 text
insert into conftrack.incident_note (incident_id, at, author, text)
select incident_id, $2, $3, $4 from conftrack.incident where incident_id = $1 and withdrawn_at is null
returning incident_id;

-- name: find_absence
-- What an absent endpoint was invited to.
-- $1 incident_id
select coalesce(i.invitation_id, m.invitation_id) as invitation_id, e.code
from conftrack.incident i
left join conftrack.meeting m on m.meeting_id = i.meeting_id
left join conftrack.caller k on k.caller_id = i.caller_id
join conftrack.endpoint e on e.endpoint_id = coalesce(i.endpoint_id, k.endpoint_id)
where i.incident_id = $1 and i.kind = 'absent' and i.withdrawn_at is null;
