//! Bounds of an instance. Beyond them it is refused in bounded time and memory.

/// Most bytes of JSON: a million jobs of about 250 bytes.
pub const BYTES_MAX: usize = 256 << 20;
/// Most slots: the hours of a leap year.
pub const SLOTS_MAX: usize = 24 * 366;
/// Longest slot in seconds: a day.
pub const SLOT_SECONDS_MAX: u32 = 86_400;
/// Most clusters: twenty times the largest published instance.
pub const CLUSTERS_MAX: usize = 1_000;
/// Most jobs: fifty times the largest published instance.
pub const JOBS_MAX: usize = 1_000_000;
/// Most clusters × slots: 110 clusters for a year; the solver holds some 100 bytes for each.
pub const CELLS_MAX: usize = 1_000_000;
/// Most jobs × clusters: the solver holds about 50 bytes for each, so half a gigabyte.
pub const PAIRS_MAX: usize = 10_000_000;
/// Largest arrival, duration or deadline in slots: a century of hours. More is another unit.
pub const TIME_MAX: usize = 1_000_000;
/// Most cores, GiB or GPUs of a job or a cluster; in billionths, some hundred of them fit 64 bits.
pub const AMOUNT_MAX: f64 = 1e7;
/// Highest intensity, g/kWh: a hundred times that of coal.
pub const INTENSITY_MAX: f64 = 1e5;
/// Highest facility factor.
pub const PUE_MAX: f64 = 10.0;
/// Most watts of a core or a GPU.
pub const WATTS_MAX: f64 = 1e6;
/// Highest price of anything.
pub const PRICE_MAX: f64 = 1e9;
/// Highest priority.
pub const PRIORITY_MAX: f64 = 1e9;
/// Most GB of a job's data: an exabyte.
pub const DATA_GB_MAX: f64 = 1e9;
/// Most grams per GB moved.
pub const TRANSFER_MAX: f64 = 1e6;
/// Most kWh of one resume.
pub const RESUME_KWH_MAX: f64 = 1e6;
/// Longest id or name in characters, as Kubernetes has it.
pub const ID_MAX: usize = 253;
/// Errors that are told one by one; the rest is counted.
pub const ERRORS_MAX: usize = 20;
