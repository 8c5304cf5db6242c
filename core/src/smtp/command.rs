//! Command lines (RFC 5321 §4.1.1), with addresses beyond ASCII (RFC 6531 §3.3). The parameters of MAIL and RCPT are read
//! in `parameters`.

use crate::addr::{Address, Domain, ForwardPath, ReversePath};
use crate::secret::Secret;
use crate::smtp::bdat::{self, Bdat};
use crate::smtp::envelope::{DsnRequest, Recipient, Wishes};
use crate::smtp::parameters::{self, Seen, Wrong};
use crate::smtp::reply::Reply;
use crate::time::Unix;

/// Longest command line, CRLF included: 512 octets (RFC 5321 §4.5.3.1.4), to which AUTH= adds 500 (RFC 4954 §3), SIZE
/// 26, BODY 17, DSN parameters up to 600 (RFC 3461 §5.4), SMTPUTF8 10 (RFC 6531 §3.1), REQUIRETLS 11 (RFC 8689 §2),
/// MT-PRIORITY 15 (RFC 6710 §3), HOLDUNTIL 34 (RFC 4865 §3); rounded up.
pub const MAX_LINE: usize = 2048;

/// Longest line of an authentication exchange, CRLF included (RFC 4954 §4).
pub const MAX_AUTH_LINE: usize = 12_288;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO with the client's domain or address literal; `None`: it named itself, but with neither.
    Ehlo(Option<Domain>),
    /// HELO, likewise.
    Helo(Option<Domain>),
    /// LHLO, likewise (RFC 2033 §4.1).
    Lhlo(Option<Domain>),
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat(Bdat),
    /// RSET.
    Rset,
    /// NOOP, whatever follows.
    Noop,
    /// VRFY, whatever follows; without anything it is no command (RFC 5321 §4.1.1.6).
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP, whatever follows.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth(Auth),
}

/// MAIL FROM and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The path.
    pub path: ReversePath,
    /// SIZE=, octets. A number beyond 64 bits is the greatest there is.
    pub size: Option<u64>,
    /// BODY=8BITMIME.
    pub eight_bit: bool,
    /// BODY=BINARYMIME (RFC 3030 §3).
    pub binary: bool,
    /// RET=, ENVID=, SMTPUTF8, REQUIRETLS. The rest of it is not for the command to say.
    pub wishes: Wishes,
    /// MT-PRIORITY= (RFC 6710), -9 to 9.
    pub priority: Option<i8>,
    /// HOLDFOR= or HOLDUNTIL= (RFC 4865).
    pub hold: Option<Hold>,
}

impl Mail {
    /// Without parameters.
    #[must_use]
    pub fn new(path: ReversePath) -> Self {
        Self {
            path,
            size: None,
            eight_bit: false,
            binary: false,
            wishes: Wishes::default(),
            priority: None,
            hold: None,
        }
    }
}

/// How long a message is to be held (RFC 4865 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// HOLDFOR=, seconds: 1 to 999,999,999.
    For(u32),
    /// HOLDUNTIL=.
    Until(Unix),
}

/// RCPT TO and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// The path, with NOTIFY= and ORCPT=.
    pub recipient: Recipient,
    /// The command has characters above 127: it is only good after MAIL with SMTPUTF8 (RFC 6531 §3.4).
    pub utf8: bool,
}

/// AUTH and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The mechanism's name in upper case.
    pub mechanism: String,
    /// The initial response as sent: Base64, or `=` for an empty one.
    pub initial: Option<Secret>,
}

/// What is wrong with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Where, in octets from the line's start.
    pub column: usize,
    /// What.
    pub kind: SyntaxKind,
}

/// The kinds of [`Syntax`] errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxKind {
    /// CR, LF, NUL, another control character, an octet above 127 outside of addresses or one that is no UTF-8 stands in
    /// the line, or it does not end with CRLF.
    BadOctet,
    /// An address has characters above 127, and SMTPUTF8 is not given (RFC 6531 §3.5).
    NonAscii,
    /// The verb is unknown.
    UnknownCommand,
    /// An argument is missing, or there is one too many.
    Arguments,
    /// The address of MAIL.
    BadReversePath,
    /// The address of RCPT.
    BadForwardPath,
    /// A parameter that is not known.
    UnknownParameter,
    /// A known parameter given twice or with a bad value.
    BadParameter,
}

impl Syntax {
    /// The reply to it.
    #[must_use]
    pub const fn reply(self) -> Reply {
        match self.kind {
            SyntaxKind::BadOctet => Reply::new(500, "5.5.2", "Syntax error, forbidden character in command"),
            SyntaxKind::NonAscii => Reply::new(553, "5.6.7", "Non-ASCII address without SMTPUTF8"),
            SyntaxKind::UnknownCommand => Reply::new(500, "5.5.1", "Command not recognized"),
            SyntaxKind::Arguments => Reply::new(501, "5.5.4", "Syntax error in arguments"),
            SyntaxKind::BadReversePath => Reply::new(501, "5.1.7", "Syntax error in sender address"),
            SyntaxKind::BadForwardPath => Reply::new(501, "5.1.3", "Syntax error in recipient address"),
            SyntaxKind::UnknownParameter => Reply::new(555, "5.5.4", "Parameter not recognized"),
            SyntaxKind::BadParameter => Reply::new(501, "5.5.4", "Syntax error in parameter"),
        }
    }
}

/// Reads a command line, CRLF included.
///
/// # Errors
/// What the client did wrong, and where.
pub fn parse(line: &[u8]) -> Result<Command, Syntax> {
    let text = text_of(line)?;
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let args = Args {
        text: rest,
        base: verb.len() + 1,
    };
    let known = |name: &str| verb.eq_ignore_ascii_case(name);
    if known("MAIL") {
        parse_mail(args).map(Command::Mail)
    } else if known("RCPT") {
        parse_rcpt(args).map(Command::Rcpt)
    } else if known("EHLO") {
        args.client_name().map(Command::Ehlo)
    } else if known("HELO") {
        args.client_name().map(Command::Helo)
    } else if known("LHLO") {
        args.client_name().map(Command::Lhlo)
    } else if known("AUTH") {
        parse_auth(args).map(Command::Auth)
    } else if known("DATA") {
        args.none(Command::Data)
    } else if known("BDAT") {
        Ok(Command::Bdat(bdat::parse(args.text)))
    } else if known("RSET") {
        args.none(Command::Rset)
    } else if known("QUIT") {
        args.none(Command::Quit)
    } else if known("STARTTLS") {
        args.none(Command::StartTls)
    } else if known("NOOP") {
        Ok(Command::Noop)
    } else if known("HELP") {
        Ok(Command::Help)
    } else if known("EXPN") {
        Ok(Command::Expn)
    } else if known("VRFY") {
        args.some(Command::Vrfy)
    } else {
        Err(Syntax {
            column: 0,
            kind: SyntaxKind::UnknownCommand,
        })
    }
}

/// The line without CRLF and trailing white space (RFC 5321 §4.1.1), if it is nothing but printable text: ASCII, and UTF-8
/// where an address may stand (RFC 6531 §3.3, §3.7.4.2).
fn text_of(line: &[u8]) -> Result<&str, Syntax> {
    let bad = |column| Syntax {
        column,
        kind: SyntaxKind::BadOctet,
    };
    let Some(mut text) = line.strip_suffix(b"\r\n") else {
        return Err(bad(line.len()));
    };
    while let [head @ .., b' ' | b'\t'] = text {
        text = head;
    }
    let control = |octet: &u8| *octet < b' ' || *octet == 0x7f;
    if let Some(column) = text.iter().position(control) {
        return Err(bad(column));
    }
    let text = core::str::from_utf8(text).map_err(|error| bad(error.valid_up_to()))?;
    let verb = text.split(' ').next().unwrap_or_default();
    let takes_addresses = ["MAIL", "RCPT", "VRFY", "EXPN"]
        .iter()
        .any(|known| verb.eq_ignore_ascii_case(known));
    let strange = |c: char| !c.is_ascii() && (!takes_addresses || c.is_control());
    match text.find(strange) {
        Some(column) => Err(bad(column)),
        None => Ok(text),
    }
}

/// What follows the verb, and where it stands in the line.
#[derive(Clone, Copy)]
struct Args<'a> {
    text: &'a str,
    base: usize,
}

impl<'a> Args<'a> {
    fn error(self, at: usize, kind: SyntaxKind) -> Syntax {
        Syntax {
            column: self.base + at,
            kind,
        }
    }

    fn wrong(self, wrong: Wrong) -> Syntax {
        self.error(
            0,
            match wrong {
                Wrong::Unknown => SyntaxKind::UnknownParameter,
                Wrong::Bad => SyntaxKind::BadParameter,
            },
        )
    }

    fn advance(self, by: usize) -> Self {
        Self {
            text: self.text.get(by..).unwrap_or_default(),
            base: self.base + by,
        }
    }

    fn skip_spaces(self) -> Self {
        self.advance(self.text.len() - self.text.trim_start_matches(' ').len())
    }

    fn none(self, command: Command) -> Result<Command, Syntax> {
        if self.text.trim().is_empty() {
            Ok(command)
        } else {
            Err(self.error(0, SyntaxKind::Arguments))
        }
    }

    /// Something follows, whatever it is.
    fn some(self, command: Command) -> Result<Command, Syntax> {
        if self.text.trim().is_empty() {
            Err(self.error(0, SyntaxKind::Arguments))
        } else {
            Ok(command)
        }
    }

    /// What a client calls itself. Appliances and home computers give names that are no domains; refusing them loses
    /// their mail and protects nobody (RFC 5321 §4.1.4 says not to refuse for this).
    fn client_name(self) -> Result<Option<Domain>, Syntax> {
        let here = self.skip_spaces();
        if here.text.is_empty() {
            return Err(here.error(0, SyntaxKind::Arguments));
        }
        Ok(Domain::parse(here.text.strip_suffix('.').unwrap_or(here.text)))
    }

    /// `FROM:` or `TO:`; the spaces that many clients put behind the colon are tolerated.
    fn keyword(self, keyword: &str) -> Result<Self, Syntax> {
        let here = self.skip_spaces();
        match here.text.get(..keyword.len()) {
            Some(found) if found.eq_ignore_ascii_case(keyword) => {
                Ok(here.advance(keyword.len()).skip_spaces())
            }
            _ => Err(here.error(0, SyntaxKind::Arguments)),
        }
    }

    /// `<…>`: what stands between the brackets, and what follows them. A `>` in a quoted local part is text.
    fn brackets(self) -> Result<(&'a str, Self), Syntax> {
        if !self.text.starts_with('<') {
            return Err(self.error(0, SyntaxKind::Arguments));
        }
        let (mut quoted, mut escaped) = (false, false);
        for (at, octet) in self.text.bytes().enumerate().skip(1) {
            match octet {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'>' if !quoted => {
                    let inner = self.text.get(1..at).unwrap_or_default();
                    let rest = self.advance(at + 1);
                    if !rest.text.is_empty() && !rest.text.starts_with(' ') {
                        return Err(rest.error(0, SyntaxKind::Arguments));
                    }
                    return Ok((inner, rest));
                }
                _ => {}
            }
        }
        Err(self.error(self.text.len(), SyntaxKind::Arguments))
    }

    /// `KEYWORD[=value]` in turn (`esmtp-param`, RFC 5321 §4.1.2).
    fn parameters(self) -> impl Iterator<Item = (Self, &'a str, Option<&'a str>)> {
        let mut here = self;
        core::iter::from_fn(move || {
            here = here.skip_spaces();
            if here.text.is_empty() {
                return None;
            }
            let word = here.text.split(' ').next().unwrap_or_default();
            let at = here;
            here = here.advance(word.len());
            Some(match word.split_once('=') {
                Some((key, value)) => (at, key, Some(value)),
                None => (at, word, None),
            })
        })
    }
}

/// `"MAIL FROM:" Reverse-path [SP Mail-parameters]` (RFC 5321 §4.1.1.2).
fn parse_mail(args: Args<'_>) -> Result<Mail, Syntax> {
    let args = args.keyword("FROM:")?;
    let (inner, rest) = args.brackets()?;
    let path = if inner.is_empty() {
        ReversePath::Null
    } else {
        let address = path_address(inner).ok_or_else(|| args.error(1, SyntaxKind::BadReversePath))?;
        ReversePath::Address(address)
    };
    let mut mail = Mail::new(path);
    let mut seen = Seen::default();
    for (at, keyword, value) in rest.parameters() {
        parameters::mail(&mut mail, &mut seen, keyword, value).map_err(|wrong| at.wrong(wrong))?;
    }
    if !inner.is_ascii() && !mail.wishes.utf8 {
        return Err(args.error(1, SyntaxKind::NonAscii));
    }
    Ok(mail)
}

/// `"RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters]` (RFC 5321 §4.1.1.3).
fn parse_rcpt(args: Args<'_>) -> Result<Rcpt, Syntax> {
    let utf8 = !args.text.is_ascii();
    let args = args.keyword("TO:")?;
    let (inner, rest) = args.brackets()?;
    let path = if inner.eq_ignore_ascii_case("postmaster") {
        ForwardPath::Postmaster
    } else {
        let address = path_address(inner).ok_or_else(|| args.error(1, SyntaxKind::BadForwardPath))?;
        ForwardPath::Address(address)
    };
    let (mut dsn, mut seen) = (DsnRequest::default(), Seen::default());
    for (at, keyword, value) in rest.parameters() {
        parameters::rcpt(&mut dsn, &mut seen, keyword, value).map_err(|wrong| at.wrong(wrong))?;
    }
    Ok(Rcpt {
        recipient: Recipient { path, dsn },
        utf8,
    })
}

/// `[ A-d-l ":" ] Mailbox`: the source route is dropped (RFC 5321 §4.1.2, appendix C).
fn path_address(inner: &str) -> Option<Address> {
    let mailbox = if inner.starts_with('@') {
        let (route, mailbox) = inner.split_once(':')?;
        let good = |hop: &str| {
            hop.strip_prefix('@')
                .is_some_and(|domain| Domain::parse(domain).is_some())
        };
        if !route.split(',').all(good) {
            return None;
        }
        mailbox
    } else {
        inner
    };
    Address::parse(mailbox)
}

/// `"AUTH" SP sasl-mech [SP initial-response]` (RFC 4954 §8).
fn parse_auth(args: Args<'_>) -> Result<Auth, Syntax> {
    let here = args.skip_spaces();
    let mut words = here.text.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or_else(|| here.error(0, SyntaxKind::Arguments))?;
    // `sasl-mech = 1*20mech-char` (RFC 4422 §3.1).
    let mech_char = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if mechanism.len() > 20 || !mechanism.bytes().all(mech_char) {
        return Err(here.error(0, SyntaxKind::Arguments));
    }
    let initial = words.next().map(Secret::new);
    if words.next().is_some() {
        return Err(here.error(mechanism.len(), SyntaxKind::Arguments));
    }
    Ok(Auth {
        mechanism: mechanism.to_ascii_uppercase(),
        initial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> String {
        match parse(format!("{line}\r\n").as_bytes()) {
            Ok(command) => format!("{command:?}"),
            Err(syntax) => syntax.reply().line().chars().take(9).collect(),
        }
    }

    fn mail(line: &str) -> (String, Option<u64>, bool) {
        match parse(format!("{line}\r\n").as_bytes()) {
            Ok(Command::Mail(mail)) => (mail.path.to_string(), mail.size, mail.eight_bit),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn rcpt(line: &str) -> String {
        match parse(format!("{line}\r\n").as_bytes()) {
            Ok(Command::Rcpt(rcpt)) => rcpt.recipient.path.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn verbs_are_known_without_case() {
        assert_eq!(reply("ehlo MX.example.com"), "Ehlo(Some(mx.example.com))");
        assert_eq!(reply("HELO [192.0.2.1]"), "Helo(Some([192.0.2.1]))");
        assert_eq!(reply("EHLO [IPv6:2001:DB8::1]"), "Ehlo(Some([IPv6:2001:db8::1]))");
        assert_eq!(
            reply("EHLO printer.example.com."),
            "Ehlo(Some(printer.example.com))"
        );
        assert_eq!(reply("EHLO My PC (office)"), "Ehlo(None)");
        for (line, form) in [
            ("data", "Data"),
            ("Rset ", "Rset"),
            ("NOOP whatever", "Noop"),
            ("VRFY somebody", "Vrfy"),
            ("EXPN", "Expn"),
            ("HELP me", "Help"),
            ("QUIT", "Quit"),
            ("StartTls", "StartTls"),
        ] {
            assert_eq!(reply(line), form);
        }
    }

    #[test]
    fn mail_takes_its_parameters() {
        assert_eq!(mail("MAIL FROM:<>"), ("<>".into(), None, false));
        assert_eq!(
            mail("mail from: <A.b@Example.com> size=1000 BODY=8bitmime AUTH=<>"),
            ("<A.b@example.com>".into(), Some(1000), true)
        );
        assert_eq!(
            mail("MAIL FROM:<\"a>b\\\"@c\"@x.y>  body=7BIT auth=e+3Dmc2@x.y"),
            ("<\"a>b\\\"@c\"@x.y>".into(), None, false)
        );
        assert_eq!(mail("MAIL FROM:<@a.b,@c.d:e@f.g>").0, "<e@f.g>");
        assert_eq!(
            mail("MAIL FROM:<a@b.c> SIZE=99999999999999999999").1,
            Some(u64::MAX)
        );
    }

    #[test]
    fn rcpt_takes_postmaster_routes_and_literals() {
        assert_eq!(rcpt("RCPT TO:<postMASTER>"), "<Postmaster>");
        assert_eq!(rcpt("RCPT TO:<postmaster@x.y>"), "<postmaster@x.y>");
        assert_eq!(rcpt("RCPT TO: <@hop.example:a@b.c>"), "<a@b.c>");
        assert_eq!(rcpt("RCPT TO:<a@[192.0.2.1]>"), "<a@[192.0.2.1]>");
        assert_eq!(rcpt("RCPT TO:<\"a b\"@b.c>"), "<\"a b\"@b.c>");
        assert_eq!(rcpt("RCPT TO:<a%x.y@b.c>"), "<a%x.y@b.c>");
    }

    #[test]
    fn bad_lines_get_the_right_code() {
        for (line, code) in [
            ("", "500 5.5.1"),
            (" NOOP", "500 5.5.1"),
            ("FOO", "500 5.5.1"),
            ("MAILFROM:<a@b.c>", "500 5.5.1"),
            ("NO\0OP", "500 5.5.2"),
            ("NOOP \r x", "500 5.5.2"),
            ("NOOP \u{e4}", "500 5.5.2"),
            ("NOOP \t x", "500 5.5.2"),
            ("EHLO", "501 5.5.4"),
            ("DATA now", "501 5.5.4"),
            ("RSET x", "501 5.5.4"),
            ("QUIT x", "501 5.5.4"),
            ("STARTTLS x", "501 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("AUTH PLAIN a b", "501 5.5.4"),
            ("AUTH PL@IN", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL TO:<a@b.c>", "501 5.5.4"),
            ("MAIL FROM:a@b.c", "501 5.5.4"),
            ("MAIL FROM:<a@b.c", "501 5.5.4"),
            ("MAIL FROM:<a@b.c>SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a>", "501 5.1.7"),
            ("MAIL FROM:<a@b.c.>", "501 5.1.7"),
            ("MAIL FROM:<@a.b:>", "501 5.1.7"),
            ("MAIL FROM:<a@b.c> SIZE=+5", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SIZE=1 SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> SIZE=100000000000000000000", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> BODY=BINARY", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> AUTH=a+4", "501 5.5.4"),
            ("MAIL FROM:<a@b.c> FOO=1", "555 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a@b.c.>", "501 5.1.3"),
            ("RCPT TO:<a@b..c>", "501 5.1.3"),
            ("RCPT TO:<a b@c.d>", "501 5.1.3"),
            ("RCPT TO:<a@b@c.d>", "501 5.1.3"),
            ("RCPT TO:<a@[1.2.3.4>", "501 5.1.3"),
            ("RCPT TO:<@x:a@b.c> FOO", "555 5.5.4"),
            ("RCPT TO:<\"a@b.c>", "501 5.5.4"),
        ] {
            assert_eq!(reply(line), code, "{line:?}");
        }
        for unended in [&b"NOOP\n"[..], b"NOOP", b"NOOP\r", b""] {
            assert_eq!(parse(unended).map_err(|e| e.kind), Err(SyntaxKind::BadOctet));
        }
    }

    #[test]
    fn errors_know_their_column() {
        let column = |line: &[u8]| parse(line).map_err(|error| error.column);
        assert_eq!(column(b"MAIL FROM:<a@b.c> FOO=1\r\n"), Err(18));
        assert_eq!(column(b"RCPT TO:<a@b.>\r\n"), Err(9));
        assert_eq!(column(b"NO\0OP\r\n"), Err(2));
    }

    #[test]
    fn secrets_of_auth_are_not_printed() {
        let Ok(Command::Auth(auth)) = parse(b"auth plain AGEAYg==\r\n") else {
            panic!("no AUTH");
        };
        assert_eq!(auth.mechanism, "PLAIN");
        assert_eq!(auth.initial.as_ref().map(Secret::expose), Some(&b"AGEAYg=="[..]));
        assert!(!format!("{auth:?}").contains("AGEA"));
    }
}
