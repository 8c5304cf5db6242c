//! Writing XML: whatever stands in a text or an attribute is escaped here, and nowhere else.

/// A document on its way.
#[derive(Debug)]
pub(super) struct Xml {
    out: String,
    depth: usize,
}

impl Xml {
    /// A document with this line behind the declaration, if there is one.
    pub(super) fn new(doctype: &str) -> Self {
        let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        if !doctype.is_empty() {
            out.push_str(doctype);
            out.push('\n');
        }
        Self { out, depth: 0 }
    }

    /// An element with what `inside` writes.
    pub(super) fn element(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        inside: impl FnOnce(&mut Self),
    ) {
        self.indent();
        self.start(name, attributes);
        self.out.push('\n');
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.indent();
        self.end(name);
    }

    /// An element with a text.
    pub(super) fn leaf(&mut self, name: &str, text: &str) {
        self.indent();
        self.start(name, &[]);
        escape(&mut self.out, text);
        self.end(name);
    }

    /// An element with nothing in it.
    pub(super) fn empty(&mut self, name: &str) {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str("/>\n");
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
        self.out.push('>');
    }

    fn end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }
}

/// Text that means itself, between tags and in quotes. What XML 1.0 cannot hold at all becomes U+FFFD.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if is_char(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
}

/// Whether XML 1.0 §2.2 has this character.
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_attributes_are_escaped() {
        let mut xml = Xml::new("");
        xml.element("a", &[("b", "\"<'>&")], |xml| {
            xml.leaf("c", "1 < 2 && \"x\" > 'y'\0\u{b}");
            xml.empty("d");
        });
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <a b=\"&quot;&lt;&apos;&gt;&amp;\">\n\
             \x20 <c>1 &lt; 2 &amp;&amp; &quot;x&quot; &gt; &apos;y&apos;\u{fffd}\u{fffd}</c>\n\
             \x20 <d/>\n\
             </a>\n"
        );
    }
}
