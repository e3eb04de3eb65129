//! Types of expressions, and which function takes and gives which.
//!
//! The table of functions is text in CEL's own words of types; capital letters stand for any type. Sources: the CEL
//! language definition, cel-go's `strings` (version 2), `lists` (3), `sets` and two-variable extensions, and the
//! libraries of k8s.io/apiserver 0.36 (lists, regex, URLs, quantities, addresses, formats, semver, JSON patch).

use super::decl::Decl;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// A type.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    /// Anything; what it is shows when it is evaluated.
    Dyn,
    /// Of a part with a mistake in it.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    /// The type of a type.
    Meta(Arc<Type>),
    /// An object with named fields.
    Object(Arc<Decl>),
    /// An object by its name alone, whose fields are what is written (`Object.spec`).
    Open(Arc<str>),
    /// A type of a library.
    Opaque(&'static str),
    /// A type not yet known.
    Var(usize),
}

impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a == b,
            (Type::Meta(a), Type::Meta(b)) => a == b,
            (Type::Map(a), Type::Map(b)) => a == b,
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Open(a), Type::Open(b)) => a == b,
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Var(a), Type::Var(b)) => a == b,
            _ => self.word().is_some() && self.word() == other.word(),
        }
    }
}

impl Type {
    /// Its name where one word says it all.
    fn word(&self) -> Option<&'static str> {
        Some(match self {
            Type::Dyn => "dyn",
            Type::Error => "!error!",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "google.protobuf.Duration",
            Type::Timestamp => "google.protobuf.Timestamp",
            _ => return None,
        })
    }
    /// A list of these.
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }
    /// A map from these to those.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }
    /// One of these or none.
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }
    /// Whether it is of fixed size.
    pub fn is_scalar(&self) -> bool {
        match self {
            Type::Optional(inner) => inner.is_scalar(),
            _ => matches!(
                self,
                Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint
            ),
        }
    }
    /// What an optional holds, and whether it is one.
    pub fn unwrapped(&self) -> (&Type, bool) {
        match self {
            Type::Optional(inner) => (inner, true),
            other => (other, false),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::List(of) => write!(f, "list({of})"),
            Type::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Meta(of) => write!(f, "type({of})"),
            Type::Object(decl) => write!(f, "{}", decl.name),
            Type::Open(name) => write!(f, "{name}"),
            Type::Opaque(name) => write!(f, "{name}"),
            Type::Var(n) => write!(f, "_var{n}"),
            other => write!(f, "{}", other.word().unwrap_or_default()),
        }
    }
}

/// One way to call a function.
#[derive(Debug)]
pub(super) struct Overload {
    /// Whether the first argument stands before the dot.
    pub member: bool,
    /// What it takes.
    pub args: Vec<Type>,
    /// What it gives.
    pub result: Type,
}

/// A line names functions, then their overloads; a `.` begins those with a target before the dot.
const TABLE: &str = "
_?_:_ | bool A A > A
_&&_ _||_ | bool bool > bool
!_ @not_strictly_false | bool > bool
_==_ _!=_ | A A > bool
_+_ | bytes bytes > bytes | double double > double | duration duration > duration | duration timestamp > timestamp | timestamp duration > timestamp | int int > int | list(A) list(A) > list(A) | string string > string | uint uint > uint
_-_ | double double > double | duration duration > duration | int int > int | timestamp duration > timestamp | timestamp timestamp > duration | uint uint > uint
_*_ _/_ | double double > double | int int > int | uint uint > uint
_%_ | int int > int | uint uint > uint
-_ | double > double | int > int
_<_ _<=_ _>_ _>=_ | bool bool > bool | int int > bool | int double > bool | int uint > bool | uint uint > bool | uint double > bool | uint int > bool | double double > bool | double int > bool | double uint > bool | string string > bool | bytes bytes > bool | timestamp timestamp > bool | duration duration > bool
_[_] | list(A) int > A | map(A,B) A > B | optional(list(V)) int > optional(V) | optional(map(K,V)) K > optional(V)
_[?_] | list(V) int > optional(V) | optional(list(V)) int > optional(V) | map(K,V) K > optional(V) | optional(map(K,V)) K > optional(V)
@in | A list(A) > bool | A map(A,B) > bool
size | bytes > int | list(A) > int | map(A,B) > int | string > int | .bytes > int | .list(A) > int | .map(A,B) > int | .string > int
bool | bool > bool | string > bool
bytes | bytes > bytes | string > bytes
double | double > double | int > double | string > double | uint > double
int | int > int | double > int | duration > int | string > int | timestamp > int | uint > int
uint | uint > uint | double > uint | int > uint | string > uint
string | string > string | bool > string | bytes > string | double > string | duration > string | int > string | timestamp > string | uint > string | net.IP > string | net.CIDR > string
duration | duration > duration | int > duration | string > duration
timestamp | timestamp > timestamp | int > timestamp | string > timestamp
dyn | A > dyn
type | A > type(A)
contains endsWith startsWith | .string string > bool
matches | string string > bool | .string string > bool
getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getMonth | .timestamp > int | .timestamp string > int
getHours getMinutes getSeconds getMilliseconds | .timestamp > int | .timestamp string > int | .duration > int
optional.of optional.ofNonZeroValue | V > optional(V)
optional.none | > optional(V)
optional.unwrap | list(optional(V)) > list(V)
unwrapOpt | .list(optional(V)) > list(V)
first last | .list(V) > optional(V)
value | .optional(V) > V
hasValue | .optional(V) > bool
or | .optional(V) optional(V) > optional(V)
orValue | .optional(V) V > V
cel.@mapInsert | map(K,V) K V > map(K,V) | map(K,V) map(K,V) > map(K,V)
charAt | .string int > string
join | .list(string) > string | .list(string) string > string
lowerAscii upperAscii trim | .string > string
replace | .string string string > string | .string string string int > string
split | .string string > list(string) | .string string int > list(string)
substring | .string int > string | .string int int > string
format | .string list(dyn) > string
strings.quote | string > string
indexOf lastIndexOf | .string string > int | .string string int > int | .list(A) A > int
isSorted | .list(int) > bool | .list(uint) > bool | .list(double) > bool | .list(bool) > bool | .list(duration) > bool | .list(timestamp) > bool | .list(string) > bool | .list(bytes) > bool
sum | .list(int) > int | .list(uint) > uint | .list(double) > double | .list(duration) > duration
min max | .list(int) > int | .list(uint) > uint | .list(double) > double | .list(bool) > bool | .list(duration) > duration | .list(timestamp) > timestamp | .list(string) > string | .list(bytes) > bytes
slice | .list(T) int int > list(T)
flatten | .list(list(T)) > list(T) | .list(dyn) int > list(dyn)
sort | .list(int) > list(int) | .list(uint) > list(uint) | .list(double) > list(double) | .list(bool) > list(bool) | .list(duration) > list(duration) | .list(timestamp) > list(timestamp) | .list(string) > list(string) | .list(bytes) > list(bytes)
@sortByAssociatedKeys | .list(T) list(int) > list(T) | .list(T) list(uint) > list(T) | .list(T) list(double) > list(T) | .list(T) list(bool) > list(T) | .list(T) list(duration) > list(T) | .list(T) list(timestamp) > list(T) | .list(T) list(string) > list(T) | .list(T) list(bytes) > list(T)
lists.range | int > list(int)
reverse distinct | .list(T) > list(T)
sets.contains sets.equivalent sets.intersects | list(T) list(T) > bool
find | .string string > string
findAll | .string string > list(string) | .string string int > list(string)
url | string > kubernetes.URL
isURL | string > bool
getScheme getHost getHostname getPort getEscapedPath | .kubernetes.URL > string
getQuery | .kubernetes.URL > map(string,list(string))
quantity | string > kubernetes.Quantity
isQuantity | string > bool
sign | kubernetes.Quantity > int
asInteger | .kubernetes.Quantity > int
isInteger | .kubernetes.Quantity > bool
asApproximateFloat | .kubernetes.Quantity > double
add sub | .kubernetes.Quantity kubernetes.Quantity > kubernetes.Quantity | .kubernetes.Quantity int > kubernetes.Quantity
isGreaterThan isLessThan | .kubernetes.Quantity kubernetes.Quantity > bool | .kubernetes.Semver kubernetes.Semver > bool
compareTo | .kubernetes.Quantity kubernetes.Quantity > int | .kubernetes.Semver kubernetes.Semver > int
semver | string > kubernetes.Semver | string bool > kubernetes.Semver
isSemver | string > bool | string bool > bool
major minor patch | .kubernetes.Semver > int
ip | string > net.IP | .net.CIDR > net.IP
isIP isCIDR ip.isCanonical | string > bool
cidr | string > net.CIDR
family | .net.IP > int
isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast | .net.IP > bool
containsIP | .net.CIDR net.IP > bool | .net.CIDR string > bool
containsCIDR | .net.CIDR net.CIDR > bool | .net.CIDR string > bool
masked | .net.CIDR > net.CIDR
prefixLength | .net.CIDR > int
format.named | string > optional(kubernetes.NamedFormat)
format.dns1123Label format.dns1123Subdomain format.dns1035Label format.dns1123LabelPrefix format.dns1123SubdomainPrefix format.dns1035LabelPrefix format.qualifiedName format.labelValue format.uri format.uuid format.byte format.date format.datetime | > kubernetes.NamedFormat
validate | .kubernetes.NamedFormat string > optional(list(string))
jsonpatch.escapeKey | string > string
";

/// Names of the types of libraries.
const OPAQUE: [&str; 6] = [
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "net.IP",
    "net.CIDR",
];

/// Reads a type as the table writes it.
fn read(text: &str) -> Type {
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(of) = inner("list(") {
        return Type::list(read(of));
    }
    if let Some(of) = inner("optional(") {
        return Type::optional(read(of));
    }
    if let Some(of) = inner("type(") {
        return Type::Meta(Arc::new(read(of)));
    }
    if let Some((key, value)) = inner("map(").and_then(|of| of.split_once(',')) {
        return Type::map(read(key), read(value));
    }
    if let Some(opaque) = OPAQUE.into_iter().find(|name| *name == text) {
        return Type::Opaque(opaque);
    }
    match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        letter => Type::Var(usize::from(letter.bytes().next().unwrap_or(b'A') - b'A')),
    }
}

static FUNCTIONS: LazyLock<BTreeMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut all: BTreeMap<&'static str, Vec<Overload>> = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let (names, overloads) = line.split_once(" | ").unwrap_or((line, ""));
        for name in names.split(' ') {
            for overload in overloads.split(" | ") {
                let (args, result) = overload.split_once("> ").unwrap_or((overload, "dyn"));
                let member = args.starts_with('.');
                let args = args.trim_start_matches('.').split_whitespace().map(read).collect();
                let one = Overload { member, args, result: read(result) };
                all.entry(name).or_default().push(one);
            }
        }
    }
    all
});

/// The ways to call a function of this name.
pub(super) fn overloads(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

/// Names of types that are values of an expression (`type(x) == string`).
pub(super) fn named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::Meta(Arc::new(Type::Dyn)),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "optional_type" => Type::optional(Type::Dyn),
        other => return OPAQUE.into_iter().find(|opaque| *opaque == other).map(Type::Opaque),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_back() {
        let all = |name: &str| -> Vec<String> {
            let each = overloads(name).expect("in the table").iter();
            let args = |o: &Overload| o.args.iter().map(Type::to_string).collect::<Vec<_>>().join(" ");
            each.map(|o| format!("{}{} > {}", if o.member { "." } else { "" }, args(o), o.result)).collect()
        };
        assert_eq!(all("optional.none"), [" > optional_type(_var21)"]);
        assert_eq!(all("ip"), ["string > net.IP", ".net.CIDR > net.IP"]);
        assert_eq!(all("getQuery"), [".kubernetes.URL > map(string, list(string))"]);
        assert_eq!(all("_[_]")[3], "optional_type(map(_var10, _var21)) _var10 > optional_type(_var21)");
        assert!(overloads("nosuch").is_none());
    }
}
