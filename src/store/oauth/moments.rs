//! Moments as parameters and columns of statements: microseconds since 1970, exactly.

/// A parameter that holds microseconds, as a `timestamptz`.
macro_rules! moment {
    ($parameter:literal) => {
        concat!("('epoch'::timestamptz + ", $parameter, "::bigint * interval '1 microsecond')")
    };
}
pub(super) use moment;

/// A `timestamptz` as microseconds.
macro_rules! micros {
    ($column:literal) => {
        concat!("(extract(epoch FROM ", $column, ") * 1000000)::bigint")
    };
}
pub(super) use micros;
