"""Cypher 5's read language as an LALR(1) grammar.

Four places need more than one token of lookahead. `scanning` marks them by private-use characters, one for one, so that
offsets stay those of the text: NODE (a parenthesis that opens a node pattern inside an expression), EACH and MATCHES (a
bracket that opens a list or a pattern comprehension), BAR (the bar of a comprehension or of reduce()).
"""

from __future__ import annotations

import re

NODE, EACH, MATCHES, BAR = "\ue000", "\ue001", "\ue002", "\ue003"
MARKS = frozenset((NODE, EACH, MATCHES, BAR))

#: What stands between tokens. To Neo4j U+0085 is no space, and a comment ends at a carriage return too.
BLANK = r"(?:[^\S\x85]|//[^\r\n]*|/\*(?:[^*]|\*(?!/))*\*/)"
NAME = r"(?:[^\W\d]\w*|`(?:[^`]|``)+`)"

GRAMMAR = (
    (
        r"""
start: query [";"]
query: single (union single)*
union: "UNION"i [UNION_KIND]
single: clause+
?clause: match | unwind | with_clause | return_clause | call_procedure | call_subquery | ordered_clause | finish

match: [OPTIONAL] "MATCH"i pattern ("," pattern)* hint* [where]
hint: "USING"i index_kind ["SEEK"i] variable ":" NAME "(" NAME ("," NAME)* ")"
    | "USING"i "SCAN"i variable ":" NAME
    | "USING"i "JOIN"i "ON"i variable ("," variable)*
index_kind: ["TEXT"i | "RANGE"i | "POINT"i] "INDEX"i
where: "WHERE"i expression
unwind: "UNWIND"i expression "AS"i variable
with_clause: "WITH"i projection [where]
return_clause: "RETURN"i projection
projection: [DISTINCT] items [order] [skip] [limit]
items: STAR ("," item)* | item ("," item)*
item: expression ["AS"i variable]
order: "ORDER"i "BY"i sort ("," sort)*
sort: expression [DIRECTION]
skip: ("SKIP"i | "OFFSET"i) expression
limit: "LIMIT"i expression
ordered_clause: order [skip] [limit] | skip [limit] | limit
finish: "FINISH"i
call_procedure: [OPTIONAL] "CALL"i PROCEDURE [arguments] [yields]
arguments: "(" [expression ("," expression)*] ")"
yields: "YIELD"i (STAR | yielded ("," yielded)*) [where]
yielded: NAME ["AS"i variable]
call_subquery: [OPTIONAL] "CALL"i [imports] "{" query "}"
imports: "(" [STAR | variable ("," variable)*] ")"

pattern: [variable EQUAL] [selector] path
    | [variable EQUAL] shortest
selector: "SHORTEST"i [amount] [path_mode] [groups] -> shortest_k
    | "ALL"i "SHORTEST"i [path_mode] -> all_shortest
    | "ANY"i "SHORTEST"i [path_mode] -> any_shortest
    | "ANY"i [amount] [path_mode] -> any_path
    | "ALL"i [path_mode] -> all_paths
amount: INT | PARAMETER
path_mode: "PATH"i | "PATHS"i
groups: "GROUP"i | "GROUPS"i
shortest: SHORTEST "(" path ")"
path: first_part part*
?first_part: node | group
?part: node | group | relationship
group: ("(" | _NODE) [variable EQUAL] path [where] ")" [quantifier]
node: ("(" | _NODE) _filler ")"
_node_in_expression: marked_node
marked_node: _NODE _filler ")"
_filler: [variable] [labels] [properties] [where]
labels: (":" | "IS"i) label_or
relationship: [LEFT] MINUS ["[" [variable] [labels] [length] [properties] [where] "]"] MINUS [RIGHT] [quantifier]
length: STAR [INT] [RANGE [INT]]
quantifier: PLUS | STAR | "{" INT "}" -> quantifier | "{" [INT] COMMA [INT] "}"
properties: map | PARAMETER
label_or: label_and ("|" [COLON] label_and)*
label_and: label_not (("&" | ":") label_not)*
label_not: (BANG)* _label
_label: LABEL | ANY_LABEL | "(" label_or ")" | dynamic_label
dynamic_label: DYNAMIC expression ")"

?expression: or_expression
?or_expression: xor_expression ("OR"i xor_expression)*
?xor_expression: and_expression ("XOR"i and_expression)*
?and_expression: not_expression ("AND"i not_expression)*
?not_expression: (NOT)* comparison
?comparison: predicate (_compare predicate)*
_compare: EQUAL | LEFT | RIGHT | COMPARE
?predicate: sum test -> tested
    | sum
test: (TEST_OPERATOR | IN) sum -> operation
    | IS_NULL -> null_test
    | TYPED type -> type_test
    | NORMALIZED -> normal_test
type: TYPE_NAME ["<" type ">"] [NOT_NULL | BANG] ("|" type)*
?sum: product ((PLUS | MINUS | CONCAT) product)*
?product: power ((STAR | DIVIDE | ANY_LABEL) power)*
?power: unary ("^" unary)*
?unary: (PLUS | MINUS) postfix -> signed
    | postfix
?postfix: atom access*
access: "." NAME -> property
    | "[" expression "]" -> subscript
    | "[" [expression] RANGE [expression] "]" -> slice
    | ":" label_or -> has_labels
?atom: literal | parameter | variable | function | case | simple_case | count_star | "(" expression ")" -> parentheses
    | list | map | map_projection | each | pattern_comprehension | quantified | reduce | subquery
    | pattern_expression | shortest | trim
literal: STRING | INT | FLOAT | TRUE | FALSE | NULL | NAN
parameter: PARAMETER
variable: NAME
function: FUNCTION "(" [DISTINCT] [expression ("," expression)*] ")"
count_star: COUNT_STAR
trim: TRIM "(" [TRIM_SIDE] [expression] "FROM"i expression ")"
case: "CASE"i ("WHEN"i expression "THEN"i expression)+ ["ELSE"i expression] "END"i
simple_case: "CASE"i expression ("WHEN"i operand ("," operand)* "THEN"i expression)+ ["ELSE"i expression] "END"i
operand: expression | _compare sum | test
list: "[" [expression ("," expression)*] "]"
map: "{" [entry ("," entry)*] "}"
entry: NAME ":" expression
map_projection: variable "{" [element ("," element)*] "}"
element: "." NAME -> own_property
    | "." STAR -> own_properties
    | NAME ":" expression -> entry
    | variable -> own_variable
each: _EACH variable IN expression [where] [_BAR expression] "]"
pattern_comprehension: _MATCHES [variable EQUAL] path [where] _BAR expression "]"
quantified: QUANTIFIED "(" variable IN expression [where] ")"
reduce: REDUCE "(" variable EQUAL expression "," variable IN expression _BAR expression ")"
subquery: SUBQUERY "{" (query | pattern ("," pattern)* [where]) "}"
pattern_expression: _node_in_expression relationship part*


UNION_KIND: /(?:ALL|DISTINCT)\b/i
OPTIONAL: "OPTIONAL"i
DISTINCT.2: "DISTINCT"i
STAR: "*"
DIRECTION: /(?:ASC|DESC)(?:ENDING)?\b/i
LEFT: "<"
RIGHT: ">"
RANGE: ".."
COMMA: ","
COLON: ":"
BANG: "!"
ANY_LABEL: "%"
NOT: "NOT"i
EQUAL: "="
PLUS: "+"
MINUS: "-"
IN.2: "IN"i
COMPARE: "<>" | "<=" | ">="
TEST_OPERATOR: "=~" | /STARTS\s+WITH\b/i | /ENDS\s+WITH\b/i | /CONTAINS\b/i
IS_NULL.2: /IS\s+(?:NOT\s+)?NULL\b/i
TYPED.2: /(?:IS\s+(?:NOT\s+)?)?(?:::|TYPED\b)/i
NORMALIZED.2: /IS\s+(?:NOT\s+)?(?:NFK?[CD]\s+)?NORMALIZED\b/i
NOT_NULL.2: /NOT\s+NULL\b/i
TYPE_NAME: /(?:NOTHING|NULL|BOOL(?:EAN)?|STRING|VARCHAR|INT(?:EGER)?|SIGNED\s+INTEGER|FLOAT|DATE|(?:LOCAL|ZONED)\s+"""
        r"""(?:TIME|DATETIME)|(?:TIME|TIMESTAMP)\s+WITH(?:OUT)?\s+TIME\s*ZONE|DURATION|POINT|(?:ANY\s+)?(?:NODE|VERTEX)|"""
        r"""(?:ANY\s+)?(?:RELATIONSHIP|EDGE)|(?:ANY\s+)?MAP|LIST|ARRAY|PATH|(?:ANY\s+)?PROPERTY\s+VALUE|ANY(?:\s+VALUE)?)\b/i
CONCAT: "||"
DIVIDE: "/"
TRUE: "true"i
FALSE: "false"i
NULL: "null"i
NAN: /(?:NaN|INF(?:INITY)?)\b(?!\s*[.(])/i
SHORTEST.4: /(?:shortestPath|allShortestPaths)(?=\s*\()/i
QUANTIFIED.4: /(?:all|any|none|single)(?=\s*\(\s*@NAME\s+IN\b)/i
REDUCE.4: /reduce(?=\s*\(\s*@NAME\s*=)/i
SUBQUERY.4: /(?:EXISTS|COUNT|COLLECT)(?=\s*\{)/i
COUNT_STAR.4: /count\s*\(\s*\*\s*\)/i
TRIM.4: /trim(?=\s*\(\s*(?:BOTH|LEADING|TRAILING)\b)/i
TRIM_SIDE.4: /(?:BOTH|LEADING|TRAILING)\b/i
FUNCTION.3: /(?!(?:NOT|CASE|WHEN|DISTINCT|IN)\b)@NAME(?:\s*\.\s*@NAME)*(?=\s*[(\ue000])/i
PROCEDURE.3: /@NAME(?:\s*\.\s*@NAME)*/i
DYNAMIC: /\$\s*(?:any|all)?\s*\(/i
PARAMETER: /\$(?:\w+|`(?:[^`]|``)+`)/
FLOAT: /(?:\d[\d_]*\.\d[\d_]*(?:e[+-]?\d+)?|\d[\d_]*e[+-]?\d+|\.\d+(?:e[+-]?\d+)?)(?![\w])/i
INT: /(?:0x[\da-f]+|0o[0-7]+|\d[\d_]*)(?![\w])/i
STRING: /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/s
NAME: /@NAME/i
LABEL: /@NAME/i
_NODE: "\ue000"
_EACH: "\ue001"
_MATCHES: "\ue002"
_BAR: "\ue003"
%ignore /@BLANK+/
"""
    )
    .replace("@NAME", NAME)
    .replace("@BLANK", BLANK.replace("/", r"\/"))
)

#: Every word that the grammar knows, in lower case.
WORDS = frozenset(word.lower() for word in re.findall(r"[A-Za-z]{2,}", GRAMMAR))
