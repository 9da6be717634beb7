-- Every booking out of its history, as `rows.booking_row` folds it: status, version, updated and
-- position are those of the last version, created is the time of the first. A booking that
-- lacks its first version gets no row, so its history is refused by the foreign key.
INSERT INTO "Booking{s}" (id, status, version, "createdAt", "updatedAt", position)
SELECT "bookingId", "toStatus", version, opened, "createdAt", position
FROM (
    SELECT "bookingId", "toStatus", version, "createdAt", position,
        first_value("createdAt") OVER history AS opened,
        first_value(version) OVER history AS first,
        lead(version) OVER history AS next
    FROM "BookingStatusHistory{s}"
    WINDOW history AS (PARTITION BY "bookingId" ORDER BY version)
) AS entry
WHERE first = 1 AND next IS NULL;
