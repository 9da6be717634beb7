-- The application writes read models; analysts see the views only.
GRANT SELECT, INSERT, UPDATE, DELETE ON "Booking{s}", "BookingStatusHistory{s}",
    flow_day{s} TO {app};
GRANT SELECT ON booking, booking_status_history TO {app}, {analyst};
GRANT SELECT ON booking_status_visit, booking_time_in_status, booking_transition,
    booking_transition_by_day, booking_transition_by_actor, booking_path, booking_funnel,
    booking_reopened, booking_skipped_step TO {app}, {analyst};
