"""The declaration of a format that writes calls as tags around bare values, and what can be built from it.

A call is an opening tag with the tool's name, parameters, and a closing tag. Some formats put each call into
a wrapper, some put all calls of a turn into a section; a wrapper belongs to its call, a section to none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, StrEnum

import msgspec

from rollway.tool_parsers.draft import THINK
from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.output import ParseErrorKind

_SUFFIX = r"(?::[\w-]{1,64})?>"
_GROUP = re.compile(r"\(\?P<\w+>")
_BARS = re.compile("[｜|]{1,3}")
_TAG_END = re.compile(r"(?<!P<key)>")  # in a pattern: the end of a tag, not of a group's name


class Trim(Enum):
    """Which white space at the ends of a value is the format's and not the value's."""

    NOTHING = "nothing"
    ONE_NEWLINE = "one newline"  # at each end, where there is one
    ALL = "all"


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """How a call is written, as templates of ``str.format``."""

    section: tuple[str, str] = ("", "")
    call: tuple[str, str]  # what stands before and after the parameters; {name}
    parameter: str  # {key}, {value}, {string}
    between_calls: str = "\n"


class Grammar(msgspec.Struct, frozen=True, kw_only=True):
    """The tags of a format: those that open are patterns, those that close are literal.

    Every tag begins with ``<``. Every pattern must match in time linear in the text: what stands for a name
    stops at the next ``<``. "" is for tags that the format has not.
    """

    call: str  # group ``name``; without it the name is the text that follows
    call_close: str
    parameter: str  # group ``key``; group ``string`` where the tag says whether the value is text
    parameter_close: str
    fragments: tuple[str, ...] = ()  # what begins a parameter or a call, and is none if it stands alone
    name_close: str = ""  # ends a name that is text
    wrapper: str = ""
    wrapper_close: str = ""
    section: str = ""
    section_close: str = ""
    other_section_closes: tuple[str, ...] = ()  # how else models spell it
    any_bars: bool = False  # each ``｜`` of a tag may be doubled, or an ASCII ``|``
    needs_section: bool = False  # a call outside a section is only text
    suffixes: bool = (
        False  # checkpoints may write every tag with a suffix of their own: ``<tool_call:6124c78e>``
    )
    thought: re.Pattern[str] = THINK
    trim: Trim = Trim.NOTHING
    written: Written


class Advice:
    """The model's message for a block that is not a call. Made once, as a text may hold many."""

    def __init__(self, grammar: Grammar) -> None:
        opening, closing = grammar.written.call
        parameter = grammar.written.parameter.format(key="KEY", value="VALUE", string="true")
        shape = opening.format(name="NAME") + parameter + closing
        self.unclosed = Fault(
            ParseErrorKind.UNCLOSED,
            f"The call is cut off: {grammar.call_close!r} is missing. Write the whole call again.",
        )
        self.no_name = Fault(
            ParseErrorKind.MISSING_NAME, f"The call has no name, so it was not made. Write it as {shape!r}."
        )

        def malformed(problem: str) -> Fault:
            return Fault(ParseErrorKind.MALFORMED, f"{problem}, so no call was made. Write it as {shape!r}.")

        self.no_call = malformed("There is no call in this block")
        self.stray_text = malformed("There is text between the tags of the call")
        self.half_parameter = malformed("A parameter of the call is not complete")
        self.open_value = malformed("A value of the call is not closed")
        self.no_key = malformed("A parameter of the call has no name")
        self.repeated_key = malformed("A parameter of the call is given twice")


class Tag(StrEnum):
    """What a tag does."""

    SECTION = "section"
    SECTION_END = "section_end"
    WRAPPER = "wrapper"
    WRAPPER_END = "wrapper_end"
    CALL = "call"
    CALL_END = "call_end"
    NAME_END = "name_end"
    PARAMETER = "parameter"
    PARAMETER_END = "parameter_end"
    FRAGMENT = "fragment"


OPENS = frozenset({Tag.SECTION, Tag.WRAPPER, Tag.CALL})
"""Tags that begin a block."""

ENDS = frozenset({Tag.CALL_END, Tag.WRAPPER_END, Tag.SECTION_END})
"""Tags that end the last parameter's call."""


class Patterns:
    """A grammar, compiled. ``any`` gives every tag of a text; its group names are the values of `Tag`."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.advice = Advice(grammar)
        patterns = {
            Tag.SECTION: (grammar.section,),
            Tag.SECTION_END: tuple(map(re.escape, (grammar.section_close, *grammar.other_section_closes))),
            Tag.WRAPPER: (grammar.wrapper,),
            Tag.WRAPPER_END: (re.escape(grammar.wrapper_close),),
            Tag.CALL: (grammar.call,),
            Tag.CALL_END: (re.escape(grammar.call_close),),
            Tag.NAME_END: (grammar.name_close,),
            Tag.PARAMETER: (grammar.parameter,),
            Tag.PARAMETER_END: (re.escape(grammar.parameter_close),),
            Tag.FRAGMENT: grammar.fragments,
        }
        tails = {tag: _tails(given, grammar.suffixes) for tag, given in patterns.items()}
        if grammar.any_bars:
            tails = {tag: any_bars(tail) for tag, tail in tails.items()}
        named = "|".join(f"(?P<{tag.value}>{tail})" for tag, tail in tails.items() if tail)
        self.any = re.compile(f"<(?:{named})")
        self.unnamed = {tag: f"<(?:{_GROUP.sub('(?:', tail)})" if tail else "" for tag, tail in tails.items()}
        """The pattern of each tag, without groups; "" for those that the format has not."""
        self.call, self.parameter = f"<{tails[Tag.CALL]}", f"<{tails[Tag.PARAMETER]}"
        top = [tag for tag in (*OPENS, Tag.SECTION_END) if tails[tag]]
        at_top = "|".join(f"(?P<{tag.value}>{_GROUP.sub('(?:', tails[tag])})" for tag in top)
        self.block = re.compile(f"<(?:{at_top})")
        """What can stand where no block is open."""
        self.has_names = "name" in self.any.groupindex
        """Whether the tag of a call holds its name."""


def any_bars(pattern: str) -> str:
    """A pattern that takes each ``｜`` for one to three bars of either kind, as models write them."""
    return pattern.replace("｜", "[｜|]{1,3}+")


def one_bar(text: str) -> str:
    """A text with all such bars as the format has them."""
    return _BARS.sub("｜", text)


def _tails(patterns: Iterable[str], suffixes: bool) -> str:
    """What may follow the ``<`` of tags. All begin with it, so that most of a text is passed over quickly."""
    tails = "|".join(pattern.removeprefix("<") for pattern in patterns if pattern)
    return _TAG_END.sub(lambda _: _SUFFIX, tails) if suffixes else tails
