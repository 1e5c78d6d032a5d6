//! Histograms that a request adds to as to a counter (PX-317).
//!
//! The exporter's own keep every value, with the time at which it came, until somebody condenses them. Two durations for
//! each request would make that a good part of what a request costs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Upper bounds in seconds: those of Prometheus' own libraries (PX-318).
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// So many threads add without waiting for each other's caches.
const SHARDS: usize = 4;

/// Counts what happens: histograms here, everything else by the exporter.
pub(crate) struct Counting {
    exporter: PrometheusRecorder,
    histograms: Arc<Histograms>,
}

/// What was counted, as a page.
#[derive(Clone)]
pub(crate) struct Counted {
    exporter: PrometheusHandle,
    histograms: Arc<Histograms>,
}

impl Counting {
    pub(crate) fn new() -> Self {
        Self { exporter: PrometheusBuilder::new().build_recorder(), histograms: Arc::default() }
    }

    pub(crate) fn counted(&self) -> Counted {
        Counted { exporter: self.exporter.handle(), histograms: Arc::clone(&self.histograms) }
    }
}

impl Counted {
    /// The page in Prometheus' text format 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut page = self.exporter.render();
        self.histograms.render(&mut page);
        page
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.exporter.describe_counter(name, unit, text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.exporter.describe_gauge(name, unit, text);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.exporter.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.of(key))
    }
}

/// By name, and by labels as they stand on the page.
#[derive(Default)]
struct Histograms(Mutex<BTreeMap<String, BTreeMap<String, Arc<Buckets>>>>);

impl Histograms {
    fn of(&self, key: &Key) -> Arc<Buckets> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = all.entry(key.name().to_owned()).or_default();
        Arc::clone(of_name.entry(labels(key)).or_default())
    }

    fn render(&self, page: &mut String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, of_name) in &*all {
            let _ = writeln!(page, "# TYPE {name} histogram");
            for (labels, buckets) in of_name {
                buckets.render(name, labels, page);
            }
            page.push('\n');
        }
    }
}

/// The labels of a metric, in the order in which they were given.
fn labels(key: &Key) -> String {
    let mut text = String::new();
    for label in key.labels() {
        let value = label.value().replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{}=\"{value}\"", label.key());
    }
    text
}

/// How many values came, by size.
#[derive(Default)]
struct Buckets([Shard; SHARDS]);

/// What some of the threads saw; no line of a processor's cache has two of these.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    /// The last has what is above all bounds.
    came: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

thread_local! {
    static SHARD: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl HistogramFn for Buckets {
    fn record(&self, seconds: f64) {
        let Some(shard) = self.0.get(SHARD.with(|shard| *shard)) else { return };
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(came) = shard.came.get(bucket) {
            came.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative ones count as none")]
        shard.nanoseconds.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }
}

impl Buckets {
    fn sum(&self, of: impl Fn(&Shard) -> Option<&AtomicU64>) -> u64 {
        self.0.iter().filter_map(of).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn render(&self, name: &str, labels: &str, page: &mut String) {
        let (comma, braced) = match labels {
            "" => ("", String::new()),
            labels => (",", format!("{{{labels}}}")),
        };
        let mut count = 0;
        let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (place, bound) in bounds.enumerate() {
            count += self.sum(|shard| shard.came.get(place));
            let _ = writeln!(page, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds")]
        let seconds = self.sum(|shard| Some(&shard.nanoseconds)) as f64 / 1e9;
        let _ = writeln!(page, "{name}_sum{braced} {seconds}\n{name}_count{braced} {count}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics::{counter, histogram};

    use super::*;

    /// PX-317, PX-318: durations are counted by bounds, of all threads together, and stand on the page beside the rest.
    #[test]
    fn px_317_durations_are_counted_by_bounds() {
        let counting = Counting::new();
        let took = |milliseconds| {
            metrics::with_local_recorder(&counting, || {
                counter!("asked_total").increment(1);
                histogram!("took_seconds", "host" => "a\"b\\c\nd", "method" => "GET")
                    .record(Duration::from_millis(milliseconds));
                histogram!("alone_seconds").record(Duration::from_secs(60));
            });
        };
        std::thread::scope(|scope| {
            for milliseconds in [5, 6, 400, 12_000, 0, 0] {
                scope.spawn(move || took(milliseconds));
            }
        });
        let page = counting.counted().render();
        assert!(page.contains("asked_total 6\n"), "{page}");
        let labels = r#"host="a\"b\\c\nd",method="GET""#;
        for (bound, count) in [("0.005", 3), ("0.01", 4), ("0.25", 4), ("0.5", 5), ("10", 5), ("+Inf", 6)] {
            let line = format!("took_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n");
            assert!(page.contains(&line), "{line} in {page}");
        }
        assert!(page.contains(&format!("took_seconds_sum{{{labels}}} 12.411\ntook_seconds_count{{{labels}}} 6\n")));
        assert!(page.contains("alone_seconds_bucket{le=\"10\"} 0\nalone_seconds_bucket{le=\"+Inf\"} 6\n"), "{page}");
        assert!(page.contains("alone_seconds_sum 360\nalone_seconds_count 6\n"), "{page}");
        assert_eq!(page.matches("# TYPE took_seconds histogram\n").count(), 1, "{page}");
    }
}
