"""Figures over many bookings, each true for a stated position. Views for SQL: sql/analytics.sql."""
