//! From text to nodes: anchors, merge keys, tags, and the limits on them (CO-720).

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag as YamlTag};
use serde_json::Value;

use crate::node::{Kind, Node};
use crate::{Fault, MAX_BYTES, scalar, tag};

/// The most nodes after all aliases are followed (CO-720).
const MAX_NODES: usize = 100_000;
/// The most bytes of text in them: aliases repeat long texts as well.
const MAX_TEXT: usize = 16 << 20;
/// The most nodes that are kept for aliases: an anchor may stand within an anchor.
const MAX_KEPT: usize = 4 * MAX_NODES;
/// How deep lists and objects may nest.
const MAX_DEPTH: usize = 100;

/// Reads a text of exactly one document.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::new(1, format!("The document is longer than {MAX_BYTES} bytes.")));
    }
    let mut loader = Loader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        size: Size::default(),
        kept: Size::default(),
    };
    let mut document = None;
    loop {
        let (event, line) = loader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            _ if document.is_some() => return Err(Fault::new(line, "There is more than one document.")),
            event => document = Some(loader.node(event, line, 0)?),
        }
    }
    document.ok_or_else(|| Fault::new(1, "There is no document."))
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Nodes that have a name, with their size.
    anchors: HashMap<usize, (Node, Size)>,
    size: Size,
    kept: Size,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn and(self, more: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(more.nodes), bytes: self.bytes.saturating_add(more.bytes) }
    }

    fn since(self, before: Self) -> Self {
        Self { nodes: self.nodes.saturating_sub(before.nodes), bytes: self.bytes.saturating_sub(before.bytes) }
    }

    fn check(self, line: usize, most: usize) -> Result<(), Fault> {
        if self.nodes > most {
            return Err(Fault::new(line, format!("The document has more than {most} nodes.")));
        }
        if self.bytes > MAX_TEXT {
            return Err(Fault::new(line, format!("The document has more than {MAX_TEXT} bytes of text.")));
        }
        Ok(())
    }
}

impl<'a> Loader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        match self.parser.next() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(Fault::new(error.marker().line(), error.info())),
            None => Err(Fault::new(1, "The document ends too early.")),
        }
    }

    fn count(&mut self, line: usize, size: Size) -> Result<(), Fault> {
        self.size = self.size.and(size);
        self.size.check(line, MAX_NODES)
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(line, format!("Lists and objects nest deeper than {MAX_DEPTH}.")));
        }
        let before = self.size;
        let bytes = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.count(line, Size { nodes: 1, bytes })?;
        let (anchor, yaml_tag, node) = match event {
            Event::Alias(anchor) => {
                let unknown = || Fault::new(line, "Unknown alias.");
                let size = self.anchors.get(&anchor).map(|(_, size)| *size).ok_or_else(unknown)?;
                // Before it is copied.
                self.count(line, size)?;
                return self.anchors.get(&anchor).map(|(node, _)| node.clone()).ok_or_else(unknown);
            }
            Event::Scalar(text, style, anchor, yaml_tag) => {
                let is_text = style != ScalarStyle::Plain || yaml_tag.is_some();
                let value = match is_text {
                    true => Value::String(text.into_owned()),
                    false => scalar::plain(&text).map_err(|unkept| unkept.at(line))?,
                };
                (anchor, yaml_tag, Node::new(line, Kind::Plain(value)))
            }
            Event::SequenceStart(anchor, yaml_tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, line) => items.push(self.node(event, line, depth + 1)?),
                    }
                }
                (anchor, yaml_tag, Node::new(line, Kind::List(items)))
            }
            Event::MappingStart(anchor, yaml_tag) => {
                let entries = self.entries(depth)?;
                (anchor, yaml_tag, Node::new(line, Kind::Map(entries)))
            }
            _ => return Err(Fault::new(line, "The document is not well formed.")),
        };
        let node = match yaml_tag {
            None => node,
            Some(yaml_tag) => tagged(&yaml_tag, node)?,
        };
        if anchor > 0 {
            let size = self.size.since(before);
            self.kept = self.kept.and(size);
            self.kept.check(line, MAX_KEPT)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(String, Node)>, Fault> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut merged: Vec<(String, Node)> = Vec::new();
        let mut known = HashSet::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = match self.node(event, line, depth + 1)?.kind {
                Kind::Plain(Value::String(key)) => key,
                Kind::Plain(other) => other.to_string(),
                Kind::List(_) | Kind::Map(_) | Kind::Tag(_) => return Err(Fault::new(line, "A key must be text.")),
            };
            let (event, value_line) = self.next()?;
            let value = self.node(event, value_line, depth + 1)?;
            if is_merge {
                under(&mut merged, value)?;
            } else if !known.insert(key.clone()) {
                return Err(Fault::new(line, format!("The key '{key}' is there twice.")));
            } else {
                entries.push((key, value));
            }
        }
        merged.retain(|(key, _)| !known.contains(key));
        merged.append(&mut entries);
        Ok(merged)
    }
}

/// Collects what `<<` brings: of several, the first that has a key wins.
fn under(merged: &mut Vec<(String, Node)>, value: Node) -> Result<(), Fault> {
    match value.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                if !merged.iter().any(|(known, _)| *known == key) {
                    merged.push((key, value));
                }
            }
            Ok(())
        }
        Kind::List(items) => items.into_iter().try_for_each(|item| under(merged, item)),
        Kind::Plain(_) | Kind::Tag(_) => Err(Fault::new(value.line, "Only objects can be merged with '<<'.")),
    }
}

fn tagged(yaml_tag: &YamlTag, node: Node) -> Result<Node, Fault> {
    let line = node.line;
    if yaml_tag.is_yaml_core_schema() {
        return core_schema(&yaml_tag.suffix, node);
    }
    // The non-specific tag: text as it stands.
    if yaml_tag.handle.is_empty() && yaml_tag.suffix == "!" {
        return Ok(node);
    }
    let name = if yaml_tag.handle == "!" { yaml_tag.suffix.as_str() } else { "" };
    Ok(Node::new(line, Kind::Tag(Box::new(tag::Tag::read(name, node)?))))
}

fn core_schema(name: &str, node: Node) -> Result<Node, Fault> {
    let line = node.line;
    let wrong = || Fault::new(line, format!("This is no '!!{name}'."));
    let Some(text) = node.text() else {
        return match (name, &node.kind) {
            ("seq", Kind::List(_)) | ("map", Kind::Map(_)) => Ok(node),
            _ => Err(wrong()),
        };
    };
    let plain = || scalar::plain(text).map_err(|unkept| unkept.at(line));
    let value = match name {
        "str" => Value::String(text.to_owned()),
        "bool" => Some(plain()?).filter(Value::is_boolean).ok_or_else(wrong)?,
        "int" => Some(plain()?).filter(|value| value.is_i64() || value.is_u64()).ok_or_else(wrong)?,
        "float" => {
            let read = text.parse::<f64>().ok().filter(|read| read.is_finite()).ok_or_else(wrong)?;
            scalar::kept(text, read).map_err(|unkept| unkept.at(line))?
        }
        "null" => Value::Null,
        _ => return Err(wrong()),
    };
    Ok(Node::new(line, Kind::Plain(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(text: &str) -> Value {
        read(text).unwrap().plain().unwrap()
    }

    /// CO-720: anchors, aliases and merge keys work; explicit keys win, then the first that was merged.
    #[test]
    fn co_720_anchors_and_merge_keys() {
        let text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 9\nd: *a\n";
        assert_eq!(plain(text)["c"], json!({"y": 2, "z": 4, "x": 9}));
        assert_eq!(plain(text)["d"], json!({"x": 1, "y": 2}));
        assert_eq!(
            plain("a: 'yes'\nb: !!str 12\nc: !!int \"12\"\nd: |\n  no\n"),
            json!({"a": "yes", "b": "12", "c": 12, "d": "no\n"})
        );
    }

    /// CO-720: duplicate keys, several documents, unknown aliases and tags are refused with their line.
    #[test]
    fn co_720_what_is_doubtful_is_refused() {
        for (text, line) in [
            ("a: 1\nb: 2\na: 3\n", 3),
            ("a: 1\n---\nb: 2\n", 3),
            ("a: *nobody\n", 1),
            ("a: 1\nb: !Unknown x\n", 2),
            ("a: {b: c\n", 2),
            ("? [1, 2]\n: x\n", 1),
            ("a: 1\n<<: 5\n", 2),
            ("a: !!int x\n", 1),
            ("", 1),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!(fault.line, line, "{text:?}: {fault}");
        }
    }

    /// CO-720: a bomb of aliases, a deep nest and a huge text cost little and are refused.
    #[test]
    fn co_720_bombs_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let before = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
        }
        assert!(read(&bomb).unwrap_err().message.contains("nodes"));
        assert!(read(&"[".repeat(5_000)).is_err());
        let repeated = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(", "));
        assert!(read(&repeated).unwrap_err().message.contains("bytes of text"));
        let opened: String = (0..90).map(|level| format!("&a{level} [")).collect();
        let nested = format!("{opened}{}{}", vec!["x"; 50_000].join(", "), "]".repeat(90));
        assert!(read(&nested).unwrap_err().message.contains("nodes"));
        assert!(read(&format!("a: {}", "x".repeat(MAX_BYTES))).unwrap_err().message.contains("bytes"));
    }
}
