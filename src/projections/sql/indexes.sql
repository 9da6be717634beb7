-- Each index serves a filter of the lists together with their order, so that no page of a list
-- costs more as the ledger grows. The key of the history comes last: it waits for whoever reads
-- the table, and in a rebuild the days are filled meanwhile.
CREATE UNIQUE INDEX "Booking{s}_pkey" ON "Booking{s}" (id);
CREATE INDEX "Booking{s}_updatedAt_idx" ON "Booking{s}" ("updatedAt", id);
CREATE INDEX "Booking{s}_status_idx" ON "Booking{s}" (status, "updatedAt", id);
CREATE UNIQUE INDEX "BookingStatusHistory{s}_pkey" ON "BookingStatusHistory{s}" (id);
-- Unique: the last guard of "exactly once".
CREATE UNIQUE INDEX "BookingStatusHistory{s}_bookingId_idx"
    ON "BookingStatusHistory{s}" ("bookingId", version);
CREATE INDEX "BookingStatusHistory{s}_createdAt_idx"
    ON "BookingStatusHistory{s}" ("createdAt", position);
CREATE INDEX "BookingStatusHistory{s}_toStatus_idx"
    ON "BookingStatusHistory{s}" ("toStatus", "createdAt", position);
CREATE INDEX "BookingStatusHistory{s}_fromStatus_idx"
    ON "BookingStatusHistory{s}" ("fromStatus", "createdAt", position);
CREATE INDEX "BookingStatusHistory{s}_changedBy_idx"
    ON "BookingStatusHistory{s}" ("changedBy", "createdAt", position);
ALTER TABLE "Booking{s}"
    ADD CONSTRAINT "Booking{s}_pkey" PRIMARY KEY USING INDEX "Booking{s}_pkey";
ALTER TABLE "BookingStatusHistory{s}"
    ADD CONSTRAINT "BookingStatusHistory{s}_bookingId_fkey"
        FOREIGN KEY ("bookingId") REFERENCES "Booking{s}" (id);
ALTER TABLE "BookingStatusHistory{s}"
    ADD CONSTRAINT "BookingStatusHistory{s}_pkey"
        PRIMARY KEY USING INDEX "BookingStatusHistory{s}_pkey";
