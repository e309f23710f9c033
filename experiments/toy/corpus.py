"""Generates the toy corpus: parallel sentences of two invented languages, the same ones for the same seed.

    python experiments/toy/corpus.py --output DIR [--seed 1] [--train 10000] [--valid 500] [--test 500]

The source language is analytic: fixed order subject-verb-object, adjectives before the noun, particles for tense and
negation. The target language is not, and the way between them asks for more than a lexicon:

- order: the verb ends its clause, objects and adverbials stand before it in another order, adjectives follow their
  noun in mirrored order, and a clause of reason moves before its main clause;
- agreement: determiner, adjectives, noun and relative pronoun take gender, number and case; prepositions govern a case;
  a verb in the past agrees in gender and number with its subject, which relative clauses may separate from it;
- a pronoun takes the gender of the noun in the clause before, whose gender only the target language has;
- ambiguity: some nouns are translated by the topic of their clause's verb, some verbs by whether the object lives.

Knows nothing about models or subwords.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

SOURCE, TARGET = "src", "tgt"
LONGEST = 26
"""Words of the longest source sentence that is kept."""

CASES = ("subject", "object", "recipient", "place")
T = TypeVar("T")


@dataclass(frozen=True)
class Noun:
    """A noun of both languages."""

    source: str
    targets: tuple[str, str]
    """Translations by topic; twice the same one unless the noun is ambiguous."""
    gender: int
    declension: int
    alive: bool


@dataclass(frozen=True)
class Verb:
    """A verb of both languages."""

    source: str
    targets: tuple[str, str]
    """Translations with a lifeless and with a living object; twice the same one unless the verb is ambiguous."""
    topic: int


@dataclass(frozen=True)
class Pair:
    """A phrase in both languages, and what other words agree with."""

    source: list[str]
    target: list[str]
    gender: int = 0
    plural: bool = False
    alive: bool = False


class Speaker:
    """Makes words of one language; never the same word twice."""

    def __init__(self, rng: random.Random, consonants: Sequence[str], vowels: Sequence[str]) -> None:
        self.rng, self.consonants, self.vowels = rng, consonants, vowels
        self.known: set[str] = set()

    def word(self, syllables: int = 2) -> str:
        """Make a new word."""
        while True:
            word = "".join(self.rng.choice(self.consonants) + self.rng.choice(self.vowels) for _ in range(syllables))
            if syllables > 1:
                word += self.rng.choice(("", *self.consonants[:5]))
            if word not in self.known:
                self.known.add(word)
                return word

    def words(self, count: int, syllables: int = 2) -> list[str]:
        """Make several new words."""
        return [self.word(syllables) for _ in range(count)]


@dataclass
class Languages:
    """Lexicon and grammar of both languages; `sentence` makes a pair of sentences."""

    rng: random.Random
    a: Speaker = field(init=False)
    b: Speaker = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        self.a = a = Speaker(rng, "ptksnrmw", "aeo")
        self.b = b = Speaker(rng, "bdgzlvhf", "iuya")
        self.nouns = [self._noun(ambiguous=number % 5 == 4) for number in range(70)]
        self.transitive = [self._verb(ambiguous=number % 4 == 3) for number in range(32)]
        self.intransitive = [self._verb() for _ in range(14)]
        self.giving = [self._verb() for _ in range(8)]
        self.adjectives = list(zip(a.words(28), b.words(28), strict=True))
        self.adverbs = list(zip(a.words(8), b.words(8), strict=True))
        self.prepositions = [(a.word(1), b.word(1), rng.choice(CASES[1:])) for _ in range(7)]
        self.determiners = list(zip(a.words(4, 1), b.words(4, 1), strict=True))
        self.that, self.because, self.then = ((a.word(1), b.word(1)) for _ in range(3))
        self.relative, self.asking, self.pronoun = b.word(1), b.word(1), b.word(1)
        self.past, self.negation, self.recipient, self.ask = a.words(4, 1)
        self.it, self.they = a.words(2, 1)
        endings = ["".join((v, c)) for v in "iuya" for c in ("", "n", "m", "s", "r", "t")]
        # In the plural, determiners and adjectives tell no gender, as in German.
        self.agreement = {
            (gender, plural, case): rng.choice(endings) for gender in range(3) for plural in (0, 1) for case in CASES
        }
        for case in CASES:
            for gender in (1, 2):
                self.agreement[gender, 1, case] = self.agreement[0, 1, case]
        self.declensions = {
            (declension, plural, case): "" if (plural, case) == (0, "subject") else rng.choice(endings)
            for declension in range(3)
            for plural in (0, 1)
            for case in CASES
        }
        # Present: number only. Past: number and, in the singular, gender.
        self.present = dict(enumerate(rng.sample(endings, 2)))
        self.preterite = dict(zip(((0, 0), (1, 0), (2, 0), (None, 1)), rng.sample(endings, 4), strict=True))

    def _noun(self, ambiguous: bool) -> Noun:
        first = self.b.word()
        second = self.b.word() if ambiguous else first
        gender, declension = self.rng.randrange(3), self.rng.randrange(3)
        return Noun(self.a.word(), (first, second), gender, declension, alive=self.rng.random() < 0.5)

    def _verb(self, ambiguous: bool = False) -> Verb:
        first = self.b.word()
        second = self.b.word() if ambiguous else first
        return Verb(self.a.word(), (first, second), self.rng.randrange(2))

    def pick(self, words: Sequence[T]) -> T:
        """Choose a word, the first ones more often, as in a natural text."""
        return self.rng.choices(words, [1 / (rank + 4) for rank in range(len(words))])[0]

    def chance(self, probability: float) -> bool:
        """Draw True with this probability."""
        return self.rng.random() < probability

    def noun_phrase(self, case: str, topic: int, depth: int = 0) -> Pair:
        """Determiner, up to two adjectives, noun, and now and then a prepositional phrase or a relative clause."""
        noun, plural = self.pick(self.nouns), self.chance(0.35)
        ending = self.agreement[noun.gender, int(plural), case]
        determiner = self.pick(self.determiners)
        adjectives = [self.pick(self.adjectives) for _ in range(self.rng.choices((0, 1, 2), (55, 33, 12))[0])]
        source = [determiner[0], *(word for word, _ in adjectives), noun.source + ("si" if plural else "")]
        target = [determiner[1] + ending, noun.targets[topic] + self.declensions[noun.declension, int(plural), case]]
        target += [word + ending for _, word in reversed(adjectives)]
        head = Pair(source, target, noun.gender, plural, noun.alive)
        if self.chance(0.15):
            phrase = self.prepositional_phrase(topic, depth + 1)
            head = Pair(source + phrase.source, target + phrase.target, noun.gender, plural, noun.alive)
        if depth < 2 and self.chance(0.25 if depth == 0 else 0.12):
            clause = self.relative_clause(head, depth + 1)
            head = Pair(head.source + clause.source, head.target + clause.target, noun.gender, plural, noun.alive)
        return head

    def prepositional_phrase(self, topic: int, depth: int = 1) -> Pair:
        """A preposition and a noun phrase in the case that it governs."""
        source, target, case = self.pick(self.prepositions)
        inner = self.noun_phrase(case, topic, depth + 1)
        return Pair([source, *inner.source], [target, *inner.target])

    def relative_clause(self, head: Pair, depth: int) -> Pair:
        """A clause whose subject or object is the head; its pronoun agrees with the head, its verb with its subject."""
        verb = self.pick(self.transitive)
        if self.chance(0.5):
            other = self.noun_phrase("object", verb.topic, depth)
            words, form = self.verb(verb, subject=head, alive=other.alive)
            source, case = [self.that[0], *words, *other.source], "subject"
        else:
            other = self.noun_phrase("subject", verb.topic, depth)
            words, form = self.verb(verb, subject=other, alive=head.alive)
            source, case = [self.that[0], *other.source, *words], "object"
        pronoun = self.relative + self.agreement[head.gender, int(head.plural), case]
        return Pair(source, [pronoun, *other.target, form])

    def verb(self, verb: Verb, subject: Pair, alive: bool = False) -> tuple[list[str], str]:
        """The verb with its particles in the source, and its one form in the target."""
        past, negative = self.chance(0.45), self.chance(0.12)
        plural = int(subject.plural)
        # In the preterite's plural there is no gender.
        ending = self.preterite[None if plural else subject.gender, plural] if past else self.present[plural]
        source = [self.past] * past + [self.negation] * negative + [verb.source]
        return source, ("o" if negative else "") + verb.targets[int(alive)] + ending

    def clause(self, subject: Pair | None = None) -> tuple[Pair, Pair]:
        """A clause, and its subject: a given one (a pronoun), or a new noun phrase."""
        kind = self.rng.choices(("transitive", "intransitive", "giving"), (60, 22, 18))[0]
        verb = self.pick(getattr(self, kind))
        subject = subject or self.noun_phrase("subject", verb.topic)
        thing = self.noun_phrase("object", verb.topic, 1) if kind != "intransitive" else Pair([], [])
        receiver = self.noun_phrase("recipient", verb.topic, 1) if kind == "giving" else Pair([], [])
        place = self.prepositional_phrase(verb.topic) if self.chance(0.2) else Pair([], [])
        adverb = self.pick(self.adverbs) if self.chance(0.25) else None
        words, form = self.verb(verb, subject, thing.alive)
        source = [*subject.source, *words, *thing.source]
        source += [self.recipient, *receiver.source] if receiver.source else []
        source += [*place.source, *([adverb[0]] if adverb else [])]
        target = [
            *subject.target,
            *([adverb[1]] if adverb else []),
            *place.target,
            *receiver.target,
            *thing.target,
            form,
        ]
        return Pair(source, target), subject

    def sentence(self) -> tuple[str, str]:
        """A sentence pair: one clause, a question, two clauses with a pronoun, or a main clause and its reason."""
        main, subject = self.clause()
        kind = self.rng.choices(("plain", "question", "then", "because"), (50, 12, 23, 15))[0]
        if kind == "plain":
            source, target = [*main.source, "."], [*main.target, "."]
        elif kind == "question":
            source, target = [self.ask, *main.source, "?"], [*main.target, self.asking, "?"]
        else:
            pronoun = self.pronoun + self.agreement[subject.gender, int(subject.plural), "subject"]
            again = Pair([self.they if subject.plural else self.it], [pronoun], subject.gender, subject.plural)
            second, _ = self.clause(again)
            if kind == "then":
                source = [*main.source, ",", self.then[0], *second.source, "."]
                target = [*main.target, ",", self.then[1], *second.target, "."]
            else:
                source = [*main.source, self.because[0], *second.source, "."]
                target = [*second.target, self.because[1], ",", *main.target, "."]
        return " ".join(source), " ".join(target)


def generate(seed: int, sizes: dict[str, int]) -> dict[str, list[tuple[str, str]]]:
    """Sentence pairs for each part; no source sentence occurs twice, within a part or in two of them."""
    languages = Languages(random.Random(seed))
    seen: dict[str, str] = {}
    while len(seen) < sum(sizes.values()):
        source, target = languages.sentence()
        if len(source.split()) <= LONGEST:
            seen.setdefault(source, target)
    pairs = iter(seen.items())
    return {part: [next(pairs) for _ in range(size)] for part, size in sizes.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for train, valid and test, .src and .tgt")
    parser.add_argument("--seed", type=int, default=1)
    for part, size in (("train", 10000), ("valid", 500), ("test", 500)):
        parser.add_argument(f"--{part}", type=int, default=size, help="sentence pairs")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    sizes = {part: getattr(options, part) for part in ("test", "valid", "train")}
    for part, pairs in generate(options.seed, sizes).items():
        for language, lines in zip((SOURCE, TARGET), zip(*pairs, strict=True), strict=True):
            (options.output / f"{part}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
