//! Reads the files of the list; their grammar is in `README.md`.

/// One message and what is expected of it.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) remarks: Vec<String>,
    pub(crate) message: Vec<u8>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) structure: Vec<u8>,
}

pub(crate) fn entries(file: &[u8]) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    for line in std::str::from_utf8(file).expect("UTF-8").lines() {
        if let Some(name) = line.strip_prefix("== ") {
            all.push(Entry {
                name: name.to_owned(),
                ..Entry::default()
            });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = all.last_mut().expect("an entry begins with its name");
        if let Some(remark) = line.strip_prefix("-- ") {
            entry.remarks.push(remark.to_owned());
        } else if let Some(text) = line.strip_prefix('|') {
            entry.message.extend(unescape(text));
            entry.message.extend_from_slice(b"\r\n");
        } else if let Some(text) = line.strip_prefix('~') {
            entry.message.extend(unescape(text));
        } else if let Some(text) = line.strip_prefix("E: ") {
            entry.envelope = unescape(text);
        } else if let Some(text) = line.strip_prefix("S: ") {
            entry.structure = unescape(text);
        } else {
            panic!("{}: {line}", entry.name);
        }
    }
    all
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let (kind, after) = escaped.split_at(1);
        rest = after;
        match kind {
            "r" => out.push(b'\r'),
            "n" => out.push(b'\n'),
            "t" => out.push(b'\t'),
            "0" => out.push(0),
            "\\" => out.push(b'\\'),
            "x" => {
                let (digits, after) = rest.split_at(2);
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
                rest = after;
            }
            "{" => {
                let (run, after) = rest.split_once('}').expect("a closing brace");
                let (count, octet) = run.split_once(' ').expect("a count and an octet");
                out.extend(octet.as_bytes().repeat(count.parse().expect("a count")));
                rest = after;
            }
            other => panic!("\\{other}: no escape"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// What BODYSTRUCTURE says, without extension data (RFC 9051 §9, `body-ext-1part`, `body-ext-mpart`): what BODY says.
pub(crate) fn without_extension(structure: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let end = reduce(structure, 0, &mut out);
    assert_eq!(end, structure.len(), "one body");
    out
}

/// Copies the body that begins at `at`; tells where it ends. Written apart from the code that renders bodies: it
/// counts items.
fn reduce(text: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    assert_eq!(text[at], b'(');
    let inside = at + 1;
    out.push(b'(');
    let mut next = inside;
    if text[inside] == b'(' {
        while text[next] == b'(' {
            next = reduce(text, next, out);
        }
        let subtype = item_end(text, next + 1);
        out.extend_from_slice(&text[next..subtype]);
        next = subtype;
    } else {
        let kind = &text[inside..item_end(text, inside)];
        let mut starts = vec![inside];
        while text[item_end(text, *starts.last().expect("one"))] == b' ' {
            starts.push(item_end(text, *starts.last().expect("one")) + 1);
        }
        let message = kind == b"\"MESSAGE\"" && text[starts[7]] == b'(';
        let kept = match kind {
            b"\"TEXT\"" => 8,
            _ if message => 10,
            _ => 7,
        };
        for (index, start) in starts.iter().copied().take(kept).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            if message && index == 8 {
                reduce(text, start, out);
            } else {
                out.extend_from_slice(&text[start..item_end(text, start)]);
            }
        }
        next = item_end(text, starts[kept - 1]);
    }
    out.push(b')');
    while text[next] == b' ' {
        next = item_end(text, next + 1);
    }
    assert_eq!(text[next], b')');
    next + 1
}

/// Where the string, number, NIL or list that begins at `at` ends.
fn item_end(text: &[u8], at: usize) -> usize {
    let mut next = at;
    let mut depth = 0;
    loop {
        match text[next] {
            b'(' => {
                depth += 1;
                next += 1;
            }
            b')' if depth > 0 => {
                depth -= 1;
                next += 1;
            }
            b' ' if depth > 0 => next += 1,
            b'"' => {
                next += 1;
                while text[next] != b'"' {
                    next += if text[next] == b'\\' { 2 } else { 1 };
                }
                next += 1;
            }
            b'{' => {
                let digits = text[next + 1..].iter().take_while(|octet| octet.is_ascii_digit());
                let count = digits.clone().count();
                let len = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
                next += 1 + count + 3 + len;
            }
            _ => {
                let rest = &text[next..];
                next += rest
                    .iter()
                    .position(|octet| matches!(octet, b' ' | b')' | b'('))
                    .unwrap_or(rest.len());
            }
        }
        if depth == 0 {
            return next;
        }
    }
}
