//! Figures of a process, as Linux tells them under `/proc`, under the names that they have in every
//! program that Prometheus looks at.

use super::{Family, Kind, Value};

/// `/proc` counts processor time in hundredths of a second towards programs, whatever the kernel's own
/// tick is (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc` said. What could not be read is empty, and its figures are then left out.
#[derive(Debug, Clone, Default)]
pub struct Proc {
    /// `/proc/self/stat`.
    pub stat: String,
    /// `/proc/self/status`.
    pub status: String,
    /// `/proc/self/limits`.
    pub limits: String,
    /// `/proc/stat`.
    pub system: String,
    /// Entries of `/proc/self/fd`.
    pub descriptors: Option<u64>,
}

impl Proc {
    /// Its families.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let bytes = |name| self.kibibytes(name).map(|kibibytes| Value::Whole(kibibytes * 1024));
        let real = |number: Option<f64>| number.map(Value::Real);
        #[rustfmt::skip]
        let all = [
            (Kind::Counter, "process_cpu_seconds", "Processor time that the process has used", real(self.cpu_seconds())),
            (Kind::Gauge, "process_resident_memory_bytes", "Memory that the process has in RAM", bytes("VmRSS:")),
            (Kind::Gauge, "process_virtual_memory_bytes", "Address space of the process", bytes("VmSize:")),
            (Kind::Gauge, "process_open_fds", "Open file descriptors", self.descriptors.map(Value::Whole)),
            (Kind::Gauge, "process_max_fds", "File descriptors that may be open", self.descriptors_max().map(Value::Whole)),
            (Kind::Gauge, "process_start_time_seconds", "When the process was started, since 1970", real(self.start_seconds())),
        ];
        let family = |(kind, name, help, value): (Kind, _, _, Option<Value>)| {
            value.map(|value| Family::new(kind, name, help).with(&[], value))
        };
        all.into_iter().filter_map(family).collect()
    }

    /// Field `number` of `stat`, from 1 as proc(5) counts. The second is the program's name in
    /// parentheses, which may have anything in it.
    fn field(&self, number: usize) -> Option<f64> {
        let (_, rest) = self.stat.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some((self.field(14)? + self.field(15)?) / TICKS_PER_SECOND)
    }

    fn start_seconds(&self) -> Option<f64> {
        let boot = self.system.lines().find_map(|line| line.strip_prefix("btime "))?;
        let boot: f64 = boot.trim().parse().ok()?;
        Some(boot + self.field(22)? / TICKS_PER_SECOND)
    }

    fn kibibytes(&self, name: &str) -> Option<u64> {
        let line = self.status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    fn descriptors_max(&self) -> Option<u64> {
        let line = self.limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{Format, render};
    use super::*;

    #[test]
    fn what_proc_says_is_told_in_base_units() {
        let proc = Proc {
            stat: "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 12345 1 2 3"
                .into(),
            status: "Name:\ta\nVmSize:\t  100 kB\nVmRSS:\t      12 kB\n".into(),
            limits:
                "Limit  Soft Limit\nMax open files            1024                 4096  files\n"
                    .into(),
            system: "cpu 1 2\nbtime 1700000000\nprocesses 1\n".into(),
            descriptors: Some(9),
        };
        let text = render(&proc.families(), Format::Prometheus);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "process_cpu_seconds_total 2",
                "process_resident_memory_bytes 12288",
                "process_virtual_memory_bytes 102400",
                "process_open_fds 9",
                "process_max_fds 1024",
                "process_start_time_seconds 1700000123.45",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(Proc::default().families(), []);
        let odd = Proc {
            stat: "1 (x) S 1".into(),
            status: "VmRSS: many kB".into(),
            limits: "Max open files unlimited".into(),
            system: "btime".into(),
            descriptors: None,
        };
        assert_eq!(odd.families(), []);
    }
}
