-- The read model that existing consumers know: names, types and the first eight columns of
-- "BookingStatusHistory" are a contract. {s} is empty, or a suffix while a rebuild fills new
-- tables beside the live ones. Keys and indexes follow in indexes.sql.
CREATE TABLE "Booking{s}" (
    id text COLLATE "C" NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    "createdAt" timestamp(3) NOT NULL,
    "updatedAt" timestamp(3) NOT NULL,
    position bigint NOT NULL
);
CREATE TABLE "BookingStatusHistory{s}" (
    id text COLLATE "C" NOT NULL,
    "bookingId" text COLLATE "C" NOT NULL,
    "fromStatus" text,
    "toStatus" text NOT NULL,
    "changedBy" text,
    reason text,
    metadata text,
    "createdAt" timestamp(3) NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    "recordedAt" timestamp(3) NOT NULL,
    actor text NOT NULL,
    source text NOT NULL,
    "claimedFromStatus" text,
    erased boolean NOT NULL
);
-- What figures over long periods are added up from (projections/flow_days.py): changes by the day
-- that they occurred, and stays that have ended by the day that they began. from_status is empty
-- for first entries, and for a stay the status stayed in; to_status is the one after. Times in
-- milliseconds. It names nobody.
CREATE TABLE flow_day{s} (
    day date NOT NULL,
    measure text COLLATE "C" NOT NULL CHECK (measure IN ('change', 'stay')),
    from_status text COLLATE "C" NOT NULL,
    to_status text COLLATE "C" NOT NULL,
    block integer NOT NULL,
    changes integer NOT NULL,
    since_midnight bigint NOT NULL,
    total bigint,
    shortest bigint,
    longest bigint,
    durations float8[] NOT NULL,
    CONSTRAINT flow_day{s}_pkey PRIMARY KEY (day, measure, from_status, to_status, block)
);
