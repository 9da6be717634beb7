-- The application writes read models; analysts see the views only.
GRANT SELECT, INSERT, UPDATE, DELETE ON "Booking{s}", "BookingStatusHistory{s}" TO {app};
GRANT SELECT ON booking, booking_status_history TO {app}, {analyst};
