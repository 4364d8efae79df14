//! What a key was used for, pure: sums that verdicts and reports move, with a bound on everything.
//!
//! [`Tally`] is what is counted, of whatever and in whatever time; [`Hours`] has the hours that are
//! counted now; [`Details`] are endpoints and the last errors; [`Sketch`] tells percentiles.

mod details;
mod hour;
mod hours;
mod ids;
mod row;
mod sketch;
mod tally;

pub use details::{DetailRoom, Details, Figures, RECENT_ERRORS_MAX, RecentError};
pub use hour::{Day, Hour};
pub use hours::{ClosedHour, DAYS_KEPT, HOURS_KEPT, HourTally, Hours};
pub use ids::SeenIds;
pub use row::{MonthRow, Reported1, SumRow, UsageRow, UsageRow1};
pub use sketch::Sketch;
pub use tally::{More, Tally};

use keygate_protocol::Increment;

/// One report, free of its wire form.
pub type Report<'a> = Increment<'a>;
