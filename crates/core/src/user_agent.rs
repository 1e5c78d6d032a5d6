//! What a browser says of itself, read well enough for somebody to know their own devices again.
//!
//! Nothing is decided by it: anybody can write anything there.

/// A program and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its name, empty if unknown.
    pub name: &'static str,
    /// Up to three numbers; those that are not there are empty.
    pub version: [String; 3],
}

/// What a `User-Agent` says. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAgent {
    /// The browser or tool.
    pub browser: Program,
    /// The operating system.
    pub os: Program,
    /// Who made the device.
    pub brand: &'static str,
    /// The kind of device.
    pub device: &'static str,
}

/// Marks of browsers and tools, the more special ones first: most call themselves by the names of others, too.
const BROWSERS: [(&str, &str); 17] = [
    ("EdgA/", "Edge Mobile"),
    ("EdgiOS/", "Edge Mobile"),
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox iOS"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome Mobile iOS"),
    ("HeadlessChrome/", "HeadlessChrome"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("git/", "git"),
    ("okhttp/", "okhttp"),
    ("python-requests/", "Python Requests"),
];

/// Marks of operating systems with their makers and devices, the more special ones first.
const SYSTEMS: [(&str, &str, &str, &str); 8] = [
    ("iPhone OS ", "iOS", "Apple", "iPhone"),
    ("CPU OS ", "iOS", "Apple", "iPad"),
    ("Mac OS X ", "Mac OS X", "Apple", "Mac"),
    ("Android ", "Android", "", ""),
    ("Windows NT ", "Windows", "", ""),
    ("CrOS ", "Chrome OS", "", ""),
    ("FreeBSD", "FreeBSD", "", ""),
    ("Linux", "Linux", "", ""),
];

/// Reads a `User-Agent`.
pub fn read(text: &str) -> UserAgent {
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| version(rest));
    let mut read = UserAgent::default();
    if let Some((name, version)) = BROWSERS.iter().find_map(|(mark, name)| Some((*name, after(mark)?))) {
        read.browser = Program { name, version };
    }
    let system = SYSTEMS.iter().find_map(|(mark, name, brand, device)| Some((after(mark)?, *name, *brand, *device)));
    if let Some((version, name, brand, device)) = system {
        read.os = Program { name, version };
        (read.brand, read.device) = (brand, device);
    }
    read
}

/// Up to three numbers at the beginning, with dots or underscores between them.
fn version(text: &str) -> [String; 3] {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let mut numbers = text.get(..end).unwrap_or_default().split(['.', '_']);
    [(); 3].map(|()| numbers.next().unwrap_or_default().chars().take(10).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-554: common browsers and systems are told by name and version; what is unknown is empty.
    #[test]
    fn co_554_browsers_are_told_apart() {
        let told = |text: &str| {
            let read = read(text);
            let version = read.browser.version.join(".");
            format!("{} {version} | {} {} | {}", read.browser.name, read.os.name, read.os.version[0], read.device)
        };
        for (text, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140.0. | Linux  | "),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.7390.55 \
                 Safari/537.36",
                "Chrome 141.0.7390 | Windows 10 | ",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36 Edg/141.0.3537.57",
                "Edge 141.0.3537 | Windows 10 | ",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Safari/604.1",
                "Safari 18.5. | iOS 18 | iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.5 Safari/605.1.15",
                "Safari 18.5. | Mac OS X 10 | Mac",
            ),
            ("curl/8.14.1", "curl 8.14.1 |   | "),
            ("something else", " .. |   | "),
            ("", " .. |   | "),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }
}
