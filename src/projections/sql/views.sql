-- What analysts read. CREATE OR REPLACE keeps each view's identity, and with it the views that
-- people have built on it, when a rebuild puts new tables ({s}) underneath.
CREATE OR REPLACE VIEW booking AS
    SELECT id AS booking_id, status, version,
        "createdAt" AT TIME ZONE 'UTC' AS created_at,
        "updatedAt" AT TIME ZONE 'UTC' AS updated_at,
        position
    FROM "Booking{s}";
COMMENT ON VIEW booking IS 'One row a booking: its status now.';
COMMENT ON COLUMN booking.booking_id IS 'Id that the booking system gave.';
COMMENT ON COLUMN booking.status IS 'Status now.';
COMMENT ON COLUMN booking.version IS 'Number of status entries so far, the first included.';
COMMENT ON COLUMN booking.created_at IS 'When the first status occurred.';
COMMENT ON COLUMN booking.updated_at IS 'When the latest status occurred.';
COMMENT ON COLUMN booking.position IS 'Position in the ledger of the latest event.';

CREATE OR REPLACE VIEW booking_status_history AS
    SELECT id, "bookingId" AS booking_id, version,
        "fromStatus" AS from_status, "toStatus" AS to_status,
        "changedBy" AS changed_by, reason, metadata::jsonb AS metadata,
        "createdAt" AT TIME ZONE 'UTC' AS created_at,
        "recordedAt" AT TIME ZONE 'UTC' AS recorded_at,
        actor, source, "claimedFromStatus" AS claimed_from_status, position, erased
    FROM "BookingStatusHistory{s}";
COMMENT ON VIEW booking_status_history IS 'One row a status that a booking came to have.';
COMMENT ON COLUMN booking_status_history.id IS 'Stable id of the row: the same after a rebuild.';
COMMENT ON COLUMN booking_status_history.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_status_history.version IS 'Place within the booking: 1, 2, 3 … This, not the time, is the order.';
COMMENT ON COLUMN booking_status_history.from_status IS 'Status before; null for the first.';
COMMENT ON COLUMN booking_status_history.to_status IS 'Status from then on.';
COMMENT ON COLUMN booking_status_history.changed_by IS 'Who changed it; null if the system did, or nobody was named.';
COMMENT ON COLUMN booking_status_history.reason IS 'Why, as the caller said; null if not said.';
COMMENT ON COLUMN booking_status_history.metadata IS 'What else the caller said; null if nothing.';
COMMENT ON COLUMN booking_status_history.created_at IS 'When it occurred, as the caller said; else when it was recorded.';
COMMENT ON COLUMN booking_status_history.recorded_at IS 'When the ledger stored it.';
COMMENT ON COLUMN booking_status_history.actor IS 'user (proved by a token), api-key (a service named who), system, import.';
COMMENT ON COLUMN booking_status_history.source IS 'The credential or the import that it came by.';
COMMENT ON COLUMN booking_status_history.claimed_from_status IS 'Previous status that an imported row claimed, where it disagrees; else null.';
COMMENT ON COLUMN booking_status_history.position IS 'Position of the event in the ledger.';
COMMENT ON COLUMN booking_status_history.erased IS 'Whether who, why and metadata were there, and were erased since.';
