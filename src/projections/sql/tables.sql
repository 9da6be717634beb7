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
