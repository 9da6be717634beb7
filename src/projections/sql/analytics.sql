-- What analysts ask again and again, over the view booking_status_history and nothing else: no
-- rows of their own, so nothing to rebuild, to audit or to erase. Order within a booking is the
-- version, never the time: a change that is recorded late, or dates only, can give a duration of
-- zero or below. Durations are then what the times say.
CREATE OR REPLACE VIEW booking_status_visit AS
    SELECT booking_id, version, to_status AS status, from_status,
        created_at AS entered_at, changed_by AS entered_by,
        lead(to_status) OVER step AS next_status,
        lead(created_at) OVER step AS left_at,
        lead(changed_by) OVER step AS left_by,
        lead(created_at) OVER step - created_at AS duration,
        position
    FROM booking_status_history
    WINDOW step AS (PARTITION BY booking_id ORDER BY version);
COMMENT ON VIEW booking_status_visit IS 'One row a stay of a booking in a status; a status that it comes back to has several.';
COMMENT ON COLUMN booking_status_visit.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_status_visit.version IS 'Place of the stay within the booking: 1, 2, 3 … This, not the time, is the order.';
COMMENT ON COLUMN booking_status_visit.status IS 'The status that it stayed in.';
COMMENT ON COLUMN booking_status_visit.from_status IS 'Status before; null for the first.';
COMMENT ON COLUMN booking_status_visit.entered_at IS 'When the stay began.';
COMMENT ON COLUMN booking_status_visit.entered_by IS 'Who brought the booking into the status; null if the system did, or nobody was named.';
COMMENT ON COLUMN booking_status_visit.next_status IS 'Status after; null while the stay lasts.';
COMMENT ON COLUMN booking_status_visit.left_at IS 'When the stay ended; null while it lasts.';
COMMENT ON COLUMN booking_status_visit.left_by IS 'Who ended the stay; null while it lasts, if the system did, or nobody was named.';
COMMENT ON COLUMN booking_status_visit.duration IS 'Interval from entered_at to left_at; null while the stay lasts. Below zero where the times contradict the order.';
COMMENT ON COLUMN booking_status_visit.position IS 'Position in the ledger of the event that began the stay.';

CREATE OR REPLACE VIEW booking_time_in_status AS
    WITH RECURSIVE known (status) AS (
        -- Looks up one status after another in the index: there are few, in many rows.
        (SELECT to_status FROM booking_status_history ORDER BY to_status LIMIT 1)
        UNION ALL
        SELECT (
            SELECT to_status FROM booking_status_history
            WHERE to_status > known.status ORDER BY to_status LIMIT 1
        )
        FROM known WHERE known.status IS NOT NULL
    ), stayed AS (
        SELECT booking_id, status, count(*) AS visits,
            sum(coalesce(left_at, now()) - entered_at) AS time_in_status,
            bool_or(next_status IS NULL) AS is_current
        FROM booking_status_visit GROUP BY booking_id, status
    )
    SELECT opening.booking_id, known.status, coalesce(stayed.visits, 0) AS visits,
        stayed.time_in_status, coalesce(stayed.is_current, false) AS is_current
    FROM booking_status_history AS opening
    JOIN known ON known.status IS NOT NULL
    LEFT JOIN stayed ON stayed.booking_id = opening.booking_id AND stayed.status = known.status
    WHERE opening.version = 1;
COMMENT ON VIEW booking_time_in_status IS 'One row a booking and status: how long it was in it, all stays together.';
COMMENT ON COLUMN booking_time_in_status.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_time_in_status.status IS 'Each status that any booking of the ledger has had.';
COMMENT ON COLUMN booking_time_in_status.visits IS 'Number of stays in the status; 0 if it never had it.';
COMMENT ON COLUMN booking_time_in_status.time_in_status IS 'Interval: sum of all stays, one that lasts counted up to now. Null, not zero, if it never had the status.';
COMMENT ON COLUMN booking_time_in_status.is_current IS 'Whether the booking is in the status now.';

CREATE OR REPLACE VIEW booking_transition AS
    SELECT booking_id, version, from_status, to_status, changed_by, created_at AS occurred_at,
        (created_at AT TIME ZONE 'UTC')::date AS day,
        created_at - lag(created_at) OVER (PARTITION BY booking_id ORDER BY version)
            AS time_in_from_status,
        reason, position
    FROM booking_status_history;
COMMENT ON VIEW booking_transition IS 'One row a status that a booking came to have, with how long it had the one before.';
COMMENT ON COLUMN booking_transition.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_transition.version IS 'Place within the booking: 1, 2, 3 …';
COMMENT ON COLUMN booking_transition.from_status IS 'Status before; null for the first.';
COMMENT ON COLUMN booking_transition.to_status IS 'Status from then on.';
COMMENT ON COLUMN booking_transition.changed_by IS 'Who changed it; null if the system did, or nobody was named.';
COMMENT ON COLUMN booking_transition.occurred_at IS 'When it occurred.';
COMMENT ON COLUMN booking_transition.day IS 'The day in UTC on which it occurred.';
COMMENT ON COLUMN booking_transition.time_in_from_status IS 'Interval since the change before; null for the first. Below zero where the times contradict the order.';
COMMENT ON COLUMN booking_transition.reason IS 'Why, as the caller said; null if not said.';
COMMENT ON COLUMN booking_transition.position IS 'Position of the event in the ledger.';

CREATE OR REPLACE VIEW booking_transition_by_day AS
    SELECT day, from_status, to_status, count(*) AS changes,
        sum(time_in_from_status) AS total_time, avg(time_in_from_status) AS mean_time,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY time_in_from_status) AS median_time
    FROM booking_transition GROUP BY day, from_status, to_status;
COMMENT ON VIEW booking_transition_by_day IS 'One row a day and transition.';
COMMENT ON COLUMN booking_transition_by_day.day IS 'The day in UTC.';
COMMENT ON COLUMN booking_transition_by_day.from_status IS 'Status before; null for first statuses.';
COMMENT ON COLUMN booking_transition_by_day.to_status IS 'Status after.';
COMMENT ON COLUMN booking_transition_by_day.changes IS 'Number of changes, never 0.';
COMMENT ON COLUMN booking_transition_by_day.total_time IS 'Interval: time in from_status, summed; null for first statuses.';
COMMENT ON COLUMN booking_transition_by_day.mean_time IS 'Interval: time in from_status, arithmetic mean; null for first statuses.';
COMMENT ON COLUMN booking_transition_by_day.median_time IS 'Interval: time in from_status, median (of an even number the middle of the two); null for first statuses.';

CREATE OR REPLACE VIEW booking_transition_by_actor AS
    SELECT changed_by, from_status, to_status, count(*) AS changes,
        sum(time_in_from_status) AS total_time, avg(time_in_from_status) AS mean_time,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY time_in_from_status) AS median_time
    FROM booking_transition GROUP BY changed_by, from_status, to_status;
COMMENT ON VIEW booking_transition_by_actor IS 'One row a person (or program) and transition.';
COMMENT ON COLUMN booking_transition_by_actor.changed_by IS 'Who; null if the system did, or nobody was named.';
COMMENT ON COLUMN booking_transition_by_actor.from_status IS 'Status before; null for first statuses.';
COMMENT ON COLUMN booking_transition_by_actor.to_status IS 'Status after.';
COMMENT ON COLUMN booking_transition_by_actor.changes IS 'Number of changes, never 0.';
COMMENT ON COLUMN booking_transition_by_actor.total_time IS 'Interval: time in from_status, summed; null for first statuses.';
COMMENT ON COLUMN booking_transition_by_actor.mean_time IS 'Interval: time in from_status, arithmetic mean; null for first statuses.';
COMMENT ON COLUMN booking_transition_by_actor.median_time IS 'Interval: time in from_status, median (of an even number the middle of the two); null for first statuses.';

CREATE OR REPLACE VIEW booking_path AS
    SELECT booking_id, array_agg(to_status ORDER BY version) AS path,
        count(*) AS entries, count(DISTINCT to_status) AS statuses,
        min(created_at) FILTER (WHERE version = 1) AS opened_at, max(position) AS position
    FROM booking_status_history GROUP BY booking_id;
COMMENT ON VIEW booking_path IS 'One row a booking: the statuses that it had, in order.';
COMMENT ON COLUMN booking_path.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_path.path IS 'Its statuses in the order of versions; the last is the status now.';
COMMENT ON COLUMN booking_path.entries IS 'Number of entries of the path, re-entries included.';
COMMENT ON COLUMN booking_path.statuses IS 'Number of different statuses; fewer than entries where it came back to one.';
COMMENT ON COLUMN booking_path.opened_at IS 'When the first status occurred.';
COMMENT ON COLUMN booking_path.position IS 'Position in the ledger of the latest event.';

CREATE OR REPLACE VIEW booking_funnel AS
    WITH reached AS (
        SELECT booking_id, to_status AS status, min(version) AS first, max(version) AS last
        FROM booking_status_history GROUP BY booking_id, to_status
    ), total AS (
        SELECT status, count(*) AS bookings FROM reached GROUP BY status
    ), later AS (
        SELECT here.status AS from_status, there.status AS to_status, count(*) AS bookings
        FROM reached AS here
        JOIN reached AS there USING (booking_id)
        WHERE there.last > here.first AND there.status <> here.status
        GROUP BY here.status, there.status
    )
    SELECT from_status, to_status, total.bookings, later.bookings AS converted,
        later.bookings::double precision / total.bookings AS conversion
    FROM later JOIN total ON total.status = later.from_status;
COMMENT ON VIEW booking_funnel IS 'One row a pair of statuses, where a booking went from the one to the other, at once or later.';
COMMENT ON COLUMN booking_funnel.from_status IS 'The status that bookings had.';
COMMENT ON COLUMN booking_funnel.to_status IS 'The status that they had at some time after it.';
COMMENT ON COLUMN booking_funnel.bookings IS 'Number of bookings that ever had from_status.';
COMMENT ON COLUMN booking_funnel.converted IS 'Number of them that had to_status at some time after it.';
COMMENT ON COLUMN booking_funnel.conversion IS 'converted / bookings, above 0 and at most 1.';

CREATE OR REPLACE VIEW booking_reopened AS
    SELECT entry.booking_id, entry.version, entry.from_status, entry.to_status AS status,
        entry.created_at AS returned_at, entry.changed_by, entry.reason,
        entry.created_at - before.left_at AS time_away, before.visits AS visits_before
    FROM (
        SELECT *, count(*) OVER (PARTITION BY booking_id, to_status ORDER BY version) AS visit
        FROM booking_status_history
    ) AS entry
    JOIN LATERAL (
        SELECT max(stay.left_at) AS left_at, count(*) AS visits
        FROM booking_status_visit AS stay
        WHERE stay.booking_id = entry.booking_id AND stay.status = entry.to_status
            AND stay.version < entry.version
    ) AS before ON true
    WHERE entry.visit > 1;
COMMENT ON VIEW booking_reopened IS 'One row a return of a booking to a status that it had left before.';
COMMENT ON COLUMN booking_reopened.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_reopened.version IS 'Place of the return within the booking.';
COMMENT ON COLUMN booking_reopened.from_status IS 'The status that it came out of.';
COMMENT ON COLUMN booking_reopened.status IS 'The status that it came back to.';
COMMENT ON COLUMN booking_reopened.returned_at IS 'When it came back.';
COMMENT ON COLUMN booking_reopened.changed_by IS 'Who brought it back; null if the system did, or nobody was named.';
COMMENT ON COLUMN booking_reopened.reason IS 'Why, as the caller said; null if not said.';
COMMENT ON COLUMN booking_reopened.time_away IS 'Interval since it had left the status last. Below zero where the times contradict the order.';
COMMENT ON COLUMN booking_reopened.visits_before IS 'Number of stays in the status before this return, at least 1.';

CREATE OR REPLACE VIEW booking_skipped_step AS
    WITH step AS (
        SELECT from_status, to_status, count(*) AS changes
        FROM booking_status_history WHERE from_status IS NOT NULL
        GROUP BY from_status, to_status
    ), shortcut AS (
        SELECT straight.from_status, straight.to_status, first.to_status AS skipped_status
        FROM step AS straight
        JOIN step AS first ON first.from_status = straight.from_status
        JOIN step AS second ON second.from_status = first.to_status
            AND second.to_status = straight.to_status
        WHERE straight.from_status <> straight.to_status
            AND first.to_status NOT IN (straight.from_status, straight.to_status)
    )
    SELECT entry.booking_id, entry.version, entry.from_status, shortcut.skipped_status,
        entry.to_status, entry.created_at AS occurred_at, entry.changed_by
    FROM booking_status_history AS entry
    JOIN shortcut USING (from_status, to_status)
    WHERE NOT EXISTS (
        SELECT FROM booking_status_history AS earlier
        WHERE earlier.booking_id = entry.booking_id AND earlier.version < entry.version
            AND earlier.to_status = shortcut.skipped_status
    );
COMMENT ON VIEW booking_skipped_step IS 'One row a change that went straight where other changes go by a status between, which the booking had not had. A change that skips one of two statuses has two rows.';
COMMENT ON COLUMN booking_skipped_step.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_skipped_step.version IS 'Place of the change within the booking.';
COMMENT ON COLUMN booking_skipped_step.from_status IS 'Status before.';
COMMENT ON COLUMN booking_skipped_step.skipped_status IS 'The status between, which the booking had never had.';
COMMENT ON COLUMN booking_skipped_step.to_status IS 'Status after.';
COMMENT ON COLUMN booking_skipped_step.occurred_at IS 'When it occurred.';
COMMENT ON COLUMN booking_skipped_step.changed_by IS 'Who changed it; null if the system did, or nobody was named.';
