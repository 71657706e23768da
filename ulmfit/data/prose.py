"""The English text: sentence patterns filled from the fact tables, after the essays written by hand (essays.txt).

One document a row of a table: an opening sentence, then a shuffled choice of the other patterns of its table.
Some documents go across rows instead: a year by year chronicle, and comparisons. A pattern whose fact is
missing (`-`) is left out.
"""

from collections.abc import Callable, Iterator

from ulmfit.data import entities
from ulmfit.data.entities import Row

OrderKey = Callable[[str], str]
SENTENCES_PER_DOCUMENT = 8

# kind -> (openings, sentences that may follow in any order)
PATTERNS: dict[str, tuple[str, str]] = {
    "country": ("""
{name} is a country in {continent}, and its capital is {capital}.
The country of {name} lies in {continent}.
{capital} is the capital of {name}, a country in {continent}.
In {continent} there is a country called {name}.
""", """
The capital of {name} is {capital}.
People in {name} pay with the {currency}.
The {currency} is the money that is used in {name}.
One of the main languages of {name} is {language}.
A visitor who speaks {language} can talk with many people in {name}.
{name} shares a border with {neighbour}.
To travel from {name} to {neighbour} by land, one only has to cross one border.
Since {capital} is the capital, officials and diplomats from other countries come there.
By its form of government {name} is a {government}.
What city is the capital of {name}? The answer is {capital}.
What is the currency of {name}? It is the {currency}.
Which continent is {name} on? It is a part of {continent}.
There are newspapers in {language} that are printed in {capital} and read all over the country.
Travellers who land in {capital} change their money into the {currency} before they take the train or the bus.
Children in {name} learn at school that {capital} is the capital and that the country is a {government}.
On a map {name} is drawn beside {neighbour}.
The banks of {capital} count in the {currency}, and so do the markets in the villages.
Many songs and poems in {language} tell of the hills, rivers and towns of {name}.
"""),
    "city": ("""
{name} is a city in {country}.
{name}, a city in {country}, is known for {known}.
One of the well-known cities of {country} is {name}.
""", """
The city is known for {known}.
People come to {name} because of {known}.
In what country would a traveller look for {name}? In {country}.
{name} is one of the places in {country} that travellers put on their list.
Anyone who asks what {name} is famous for will hear about {known}.
The streets of {name} are full of people in the evening, and the old part of the city is best seen on foot.
Trains and buses connect {name} with the other cities of {country}.
A guide book on {country} gives {name} a chapter of its own.
When somebody from {name} is asked about home, the talk soon turns to {known}.
Students, merchants and sailors have all left their mark on {name}.
Maps of {country} print the name of {name} in large letters.
"""),
    "river": ("""
The {name} is a river in {continent}.
The {name} is one of the well-known rivers of {continent}.
The river {name} flows into {sea}.
""", """
It flows through {city} and ends in {sea}.
On its banks lies the city of {city}.
The city of {city} was built beside the {name}, since water, fish and trade came with the river.
Boats on the {name} carry goods and passengers.
After rain and melting snow the {name} rises, and people in {city} watch the level of the water.
Where does the {name} reach its end? It flows into {sea}.
The bridges of {city} cross the {name}.
From its source the {name} runs downhill, takes in many smaller streams, and at last reaches {sea}.
Fishermen, farmers and factories all need the water of the {name}.
A river like the {name} carries sand and mud, and drops them where it meets the sea.
A traveller who follows the {name} past {city} will arrive at {sea} in the end.
On old maps of {continent} the {name} is one of the first rivers to be drawn.
"""),
    "mountain": ("""
{name} is a mountain in {where}.
High above the land around it stands {name}, a mountain in {where}.
""", """
Its summit is {height} metres above the sea.
The height of the mountain is given as {height} metres.
With {height} metres, {name} is a goal for many climbers.
Climbers who want to reach the top need warm clothes, good boots and patience.
What is the height of {name}? About {height} metres.
The air grows thin and cold near the top, and the weather can change within an hour.
People who live near {name} tell old stories about it.
From the summit of {name} one can see far over the land on a clear day.
Snow and ice cover the upper slopes for a part of the year or for all of it.
The first people who reached the summit of {name} left a flag or a pile of stones.
Maps show {name} as a small triangle with the number {height} beside it.
"""),
    "island": ("""
{name} is an island in {sea}.
In {sea} lies the island of {name}.
""", """
Ships and planes bring visitors to {name}.
The island is surrounded by the water of {sea}.
Fishing and tourism give work to many people on {name}.
What sea surrounds {name}? It is {sea}.
The coast of {name} has beaches, rocks and small harbours.
Storms on {sea} sometimes keep the ships of {name} in the harbour for days.
The people of {name} know {sea} well, for it feeds them and cuts them off at the same time.
Plants and animals that live on an island such as {name} may differ from those on the mainland.
Sailors on {sea} were glad when they saw the hills of {name}.
"""),
    "landmark": ("""
A famous sight in {place} is {name}.
Visitors to {place} hardly ever miss {name}, {kind}.
Photographs of {place} often show {name}.
""", """
It is {kind}.
What is it that people see there? They see {kind}.
Guides in {place} explain to visitors how {name} was planned, built and repaired.
In what city or country would you find {name}? In {place}.
Early in the morning, before the crowds arrive, is the best time to visit {name}.
Painters and photographers never grow tired of {name}.
Without {name}, the pictures that we have of {place} would look quite different.
Rain, wind and smoke wear the stones and metals of old monuments away, so {name} needs constant care.
Small copies of {name} are sold as souvenirs all over {place}.
People from all over the world come to {place} to see {name} with their own eyes.
School classes that travel to {place} learn who ordered the work and how long it took.
"""),
    "book": ("""
{name} is {kind} by {author}.
{author} wrote {name}, {kind}.
The book {name} was written by {author}.
""", """
It was published in {year}.
It is {kind}.
The first readers held the book in their hands in {year}.
Who is the author of {name}? It was {author}.
{author} became known to many readers through {name}.
Since {year} the book has been printed again and again and translated into many languages.
Teachers like to read parts of {name} with their classes.
There are films, plays and songs that go back to {name}.
In {year}, when {name} appeared, some critics praised it and others did not know what to say.
What year did the book appear? In {year}.
Libraries keep {name} on the shelf with the other works of {author}.
A reader who opens {name} finds {kind}.
A biography of {author} will always say something about {name}.
People who have never read {name} still know its title.
"""),
    "painting": ("""
{painter} painted {name}.
The picture called {name} is a work of {painter}.
""", """
Who painted {name}? The painter was {painter}.
Visitors stand in front of {name} and look at the faces, the light and the colours.
Copies of {name} hang in many rooms, but the original is kept in a safe place.
{painter} made many pictures, and {name} is among the best known.
Art historians have written whole books about {name}.
The name of {painter} is known even to people who rarely go to a museum.
To paint a picture such as {name}, a painter first makes sketches and then mixes the colours.
Which artist made it? Books on art name {painter}.
A good print of {name} shows the colours, but never the size and the surface.
"""),
    "music": ("""
{name} is {kind} by {composer}.
{composer} wrote {name}, {kind}.
""", """
It is {kind}.
Which composer wrote {name}? It was {composer}.
Orchestras all over the world play {name}.
The music of {composer} is heard in concert halls, in churches and on the radio.
Some melodies from {name} are known to people who have never been to a concert.
Critics do not always agree about {name}.
For a performance of {name} the musicians practise for weeks.
Concert programmes print the name of {composer} in large letters and the title {name} below it.
Young musicians learn from {composer} how a small idea can grow into a large work.
"""),
    "film": ("""
{name} is a film of {year} that was directed by {director}.
In {year} {director} directed the film {name}.
""", """
It came to the cinemas in {year}.
Who directed {name}? It was {director}.
Many lists of the best films of all time include {name}.
People who love the cinema know the work of {director}.
The film {name} has been shown again and again since {year}.
Film students watch {name} to learn how {director} used light, sound and silence.
Posters of {name} are collected by people who love old films.
A film needs actors, writers and people behind the camera, but {name} is linked above all with {director}.
In {year} a ticket for the cinema cost much less than it does today.
"""),
    "invention": ("""
The {name} was invented by {maker}.
{maker} invented the {name} in {year}.
The history of the {name} goes back to {maker} and to the year {year}.
""", """
People use the {name} {use}.
The usual date that is given for the {name} is {year}.
Who invented the {name}? The credit goes to {maker}.
The invention made it easier {use}.
Before {year}, people had to find other ways {use}.
Others had worked on similar ideas, but it was {maker} who made the {name} work.
Museums of technology show an early {name} and explain how its parts work together.
What is it good for? It helps people {use}.
An invention like the {name} is never finished, and later engineers made it smaller, safer and cheaper.
The name of {maker} is linked for ever with the {name}.
At first few people believed that the {name} would be of any use.
Today hardly anyone thinks of {maker} when {a_name} is at hand {use}.
"""),
    "person": ("""
{name} was a famous {job}.
{name}, who was born in {birthplace} in {born}, {deed}.
The {job} {name} was born in {born}.
""", """
{name} {deed}.
{name} was born in {birthplace}.
The year of birth was {born}, and the year of death was {died}.
Where was {name} born? In {birthplace}.
When was {name} born? In {born}.
{name} died in {died}.
In {died} the life of {name} came to an end.
Streets and schools have been named after {name}.
The town of {birthplace} is proud of {name}.
Anyone who asks why {name} is remembered will be told that this {job} {deed}.
Many books about the life of {name} have been written, and not all of them agree.
What work did {name} do? {name} was {a_job}.
Letters from the time of {name} show how people lived, travelled and argued then.
Children learn about {name} at school.
"""),
    "company": ("""
{name} is a company that became known for {product}.
The company {name} was founded by {founder}.
In {year} {founder} founded {name}.
""", """
It was founded in {year}.
Who founded {name}? It was {founder}.
The company sells {product} in many countries.
When was {name} founded? The year was {year}.
What product made the company known? The answer is {product}.
Like other large firms, {name} was once small.
The factories and the offices of {name} have moved and grown over the years.
Advertisements for {product} carried the name of {name} around the world.
Without {founder} there would be no {name}.
Since {year} the firm has had good years and bad years.
Other firms make {product} too, so {name} has to keep its prices and its quality in mind.
"""),
    "element": ("""
{Name} is a chemical element with the symbol {symbol}.
The chemical element {name} has the atomic number {number}.
{Name} is {kind}.
""", """
The symbol of {name} is {symbol}, and its atomic number is {number}.
It is {kind}.
An atom of {name} has {number} protons in its nucleus.
It is used for {use}.
What is the chemical symbol for {name}? It is {symbol}.
What is the atomic number of {name}? It is {number}.
Chemists write {symbol} when they mean {name}.
Without {name} we would have to do without {use}, or make do with something else.
In the periodic table {name} stands at place {number}.
Like every element, {name} cannot be split into simpler substances by heat or acid.
Students of chemistry learn that {symbol} stands for {name}.
The word {name} is found on many labels, for it plays a part in {use}.
"""),
    "animal": ("""
The {name} is {a_group} that lives in {home}.
{Plural} live in {home}.
Everybody who has seen pictures of {plural} knows that the {name} is {a_group}.
""", """
It feeds on {food}.
What do {plural} eat? They eat {food}.
Where do {plural} live? They live in {home}.
A young {name} is called {a_young}.
What do you call the young one? It is {a_young}.
{Plural} find their food, mostly {food}, in {home}.
{A_young} has to learn a great deal before it can live alone.
{Plural} that find enough {food} stay healthy and can raise their young.
People who want to watch {plural} need patience and must keep quiet.
If {home} were destroyed, {plural} would lose their home.
There are fairy tales and proverbs about the {name} in many languages.
Scientists count {plural}, mark them and follow them to learn how they live.
Every {name} was once {a_young}.
"""),
    "food": ("""
{Name} is made with {ingredient}.
{Name} comes from {origin}.
A well-known food or drink from {origin} is {name}.
""", """
The main ingredient is {ingredient}.
It is at home in {origin}, but it is known far beyond.
Where does {name} come from? It comes from {origin}.
What is the main ingredient of {name}? The answer is {ingredient}.
Every family has its own recipe for {name} and thinks that it is the best.
Cooks from {origin} took {name} with them when they moved to other lands.
Good {ingredient} can be bought at the market early in the morning.
Without {ingredient} there would be no {name}.
Some restaurants far from {origin} have {name} on the menu.
On a holiday in {origin} one should try {name} at least once.
Recipes for {name} changed over time as spices and tools became cheaper.
"""),
    "sport": ("""
{Name} is played or practised on {place}.
A match in {name} needs {gear}.
People play {name} on {place}.
""", """
The equipment of {name} includes {gear}.
The number of players on a side is {players}.
Each side has {players} at a time.
What piece of equipment is used in {name}? The answer is {gear}.
A referee or a judge makes sure that the rules of {name} are kept.
Beginners in {name} learn the rules first and the tricks later.
On Sunday mornings the clubs meet on {place}, and friends and parents come to watch.
Champions in {name} train every day, even when it is cold.
Newspapers report the results of {name} on their back pages.
To win in {name} one needs skill, patience and a little luck.
Some say that {name} is good for the body, others that it is good for the mind.
"""),
    "abbr": ("""
{name} is short for {expansion}.
The abbreviation {name} stands for {expansion}.
People who talk about {field} often use the abbreviation {name}.
""", """
What does {name} stand for? It stands for {expansion}.
What is {name} short for? The full form is {expansion}.
It belongs to the world of {field}.
Written out in full, {name} means {expansion}.
The letters are quicker to say and to write than the words.
In texts on {field} the letters {name} appear without any explanation.
Someone who does not know that {name} means {expansion} can look it up in a dictionary.
A good writer spells out {expansion} once and then uses {name}.
The expression {expansion} is long, so it was soon shortened to {name}.
"""),
    "event": ("""
The year {year} is remembered for {name}.
In {year} the world heard of {name}.
Historians have written much about {name}.
""", """
It is connected with the year {year}.
When did it happen or begin? In {year}.
The place that is linked with {name} is {place}.
Where did {name} take place? The answer is {place}.
Letters and diaries tell us how people lived through {name}.
What happened in {year}? Books on history mention {name}.
The causes of {name} were many, and people still argue about them.
People who lived through the year {year} did not forget {name}.
There are pictures and stories about {name}.
News of {name} travelled from {place} to other parts of the world.
Whoever visits {place} may think of {name} and of the year {year}.
"""),
    "unit": ("""
One {name} is equal to {count} {small}.
There are {count} {small} in one {name}.
""", """
How many {small} make one {name}? Exactly {count}.
To turn {plural} into {small}, multiply by {count}.
To turn {small} into {plural}, divide by {count}.
Someone who has two {plural} has twice {count} {small}.
Units such as the {name} make it possible to compare things that are far apart.
The number {count} is worth remembering for anyone who deals with {plural}.
"""),
}  # fmt: skip

# Sentences that put two neighbours of a table side by side.
COMPARISONS: dict[str, str] = {
    "country": "{name} and {other} are two countries: the capital of the first is {capital}, that of the second is "
    "{other_capital}. In {name} the money is the {currency}, in {other} it is the {other_currency}.",
    "river": "The {name} ends in {sea}, while the {other} ends in {other_sea}. "
    "{city} lies on the first river, and {other_city} lies on the second.",
    "element": "{Name} has the symbol {symbol} and {other} has the symbol {other_symbol}. "
    "The atomic number of {name} is {number}, that of {other} is {other_number}.",
    "animal": "The {name} is {a_group} and eats {food}, but the {other} is {other_a_group} and eats {other_food}. "
    "The young of the one is called {a_young}, the young of the other {other_a_young}.",
    "sport": "In {name} people need {gear}, but in {other} they need {other_gear}. "
    "The first takes place on {place}, the second on {other_place}.",
    "book": "{author} wrote {name}, which came out in {year}. "
    "{other_author} wrote {other}, which came out in {other_year}.",
    "person": "{name} was {a_job} and {deed}. {other} was {other_a_job} and {other_deed}.",
    "abbr": "{name} and {other} are both short forms. The first means {expansion}, the second means {other_expansion}.",
    "mountain": "{name} in {where} has a height of {height} metres, "
    "and {other} in {other_where} has {other_height} metres.",
    "food": "For {name} one needs {ingredient}, and for {other} one needs {other_ingredient}. "
    "The one comes from {origin}, the other from {other_origin}.",
    "music": "{name} is by {composer}, and {other} is by {other_composer}.",
    "city": "{name} in {country} is known for {known}, and {other} in {other_country} is known for {other_known}.",
}  # fmt: skip

# Sentences of the chronicle, one an entry of a table that has a year.
CHRONICLE: dict[str, str] = {
    "book": "In {year} {author} published {name}.",
    "film": "In {year} {director} showed the film {name} to the public.",
    "invention": "In {year} {maker} worked on the {name}.",
    "company": "In {year} {founder} started {name}.",
    "event": "In {year} came {name}.",
}


def facts(row: Row) -> dict[str, str]:
    """A row with the forms a sentence may need: `a_name` with its article, `Name` and `A_name` to start with."""
    forms = dict(row)
    for column, value in row.items():
        forms[f"a_{column}"] = f"{'an' if value[0].lower() in 'aeiou' else 'a'} {value}"
    return forms | {column.capitalize(): value[0].upper() + value[1:] for column, value in forms.items()}


def sentences(patterns: str, row: Row) -> list[str]:
    """The patterns filled with the facts of a row; those that lack a fact are left out."""
    missing = [f"{{{column}}}" for column, value in row.items() if value == "-"]
    filled = [p for p in patterns.strip().splitlines() if not any(m in p for m in missing)]
    filled = [p.format_map(facts(row)) for p in filled]
    return [s[:1].upper() + s[1:] for s in filled]


def article(kind: str, row: Row, order_key: OrderKey) -> str:
    """A document about one thing: an opening and a shuffled choice of sentences, in two paragraphs."""
    openings, others = PATTERNS[kind]
    opening = min(sentences(openings, row), key=order_key)
    body = sorted(sentences(others, row), key=order_key)[:SENTENCES_PER_DOCUMENT]
    half = len(body) // 2
    return " ".join([opening, *body[:half]]) + "\n" + " ".join(body[half:])


def groups_of(items: list[str], size: int) -> Iterator[str]:
    """Documents of `size` items each."""
    for start in range(0, len(items), size):
        yield " ".join(items[start : start + size])


def comparisons(order_key: OrderKey) -> Iterator[str]:
    """Documents that compare things with their neighbours in a shuffled table."""
    for kind, pattern in COMPARISONS.items():
        rows = sorted(entities.TABLES[kind], key=lambda row: order_key("compare " + row["name"]))
        pairs = zip(rows, rows[1:], strict=False)
        filled = [
            pattern.format_map(facts(a) | {f"other_{k}": v for k, v in facts(b).items()} | {"other": b["name"]})
            for a, b in pairs
        ]
        yield from groups_of(filled, 4)


def chronicle() -> Iterator[str]:
    """Documents that tell the dated facts of all tables in the order of time."""
    dated = [
        (int(row["year"]), pattern.format_map(row)) for kind, pattern in CHRONICLE.items() for row in entities.TABLES[kind]
    ]
    yield from groups_of([sentence for _, sentence in sorted(dated)], 8)


def make_english(essays: str, order_key: OrderKey) -> str:
    """The whole text: documents divided by blank lines, in a fixed shuffled order."""
    documents = essays.strip().split("\n\n")
    documents += [article(kind, row, order_key) for kind, rows in entities.TABLES.items() for row in rows]
    documents += [*comparisons(order_key), *chronicle()]
    return "\n\n".join(sorted(documents, key=order_key)) + "\n"
