"""The question templates, by class; `{kind}` is a slot for a thing of that kind.

Every fourth template of a class (the 4th, the 8th, ...) belongs to the test set, the others to the training set.
The order within a class was written down before that rule was applied to it and is kept: paraphrases stand near each
other, so that both sides ask about the same kinds of things in different words.

A slot may name a form: `{animal.a}` puts the article before the name, `{animal.plural}` takes another column of the
fact table. `{city}` and `{city#2}` are two different cities.
"""

ABBR = """
What does {abbr} stand for?
What is the full form of {abbr}?
What is the abbreviation for {expansion}?
What do the letters {abbr} mean?
How is {expansion} usually abbreviated?
What does the acronym {abbr} mean?
What words are shortened to {abbr}?
What are the initials of the {organisation}?
Which words does the abbreviation {abbr} come from?
What is {abbr} short for?
What is the short form of {expansion}?
How do you abbreviate {expansion}?
Spell out the abbreviation {abbr}.
Which letters stand for {expansion}?
What is the meaning of the initials {abbr}?
Which abbreviation is used for {expansion}?
When people write {abbr}, which words do they mean?
Tell me what {abbr} stands for.
What acronym is used for {expansion}?
What phrase does {abbr} abbreviate?
Can you expand the acronym {abbr}?
What is the acronym for the {organisation}?
In full, what is {abbr}?
By which initials is the {organisation} known?
"""

DESC = """
What is {concept}?
What is meant by {concept}?
Define {concept}.
What exactly is {concept}?
What is the definition of {concept}?
Explain {concept} in simple words.
How would you describe {concept}?
Can you explain what {concept} is?
What does {concept} mean?
How does {concept} work?
What are the effects of {concept}?
What does a textbook say about {concept}?
What is {disease}?
What happens to a person who has {disease}?
How does a person get {disease}?
How is {disease} treated?
What is the cause of {disease}?
How can {disease} be prevented?
How do doctors recognize {disease}?
Why is {disease} dangerous?
How does {device.a} work?
What is the principle behind {device.a}?
What is the purpose of {device.a}?
What does {device.a} do?
Explain how {device.a} works.
In what way does {device.a} do its job?
How do you use {device.a}?
Why does {device.a} sometimes fail?
How is {material} made?
What is the process of making {material}?
In what way is {material} produced?
How do people make {material}?
How was {material} first made?
Tell me how {material} is manufactured.
Describe the production of {material}.
How do factories produce {material}?
What causes {phenomenon}?
Why do we have {phenomenon}?
What is the cause of {phenomenon}?
What is the reason for {phenomenon}?
Tell me about the causes of {phenomenon}.
Explain the origin of {phenomenon}.
How can you explain {phenomenon}?
How does science explain {phenomenon}?
How do you {task}?
What is the best way to {task}?
How can I {task} at home?
How should a beginner {task}?
Tell me how to {task}.
What is the easiest way to {task}?
Explain how to {task}.
What is a good method to {task}?
What does the word {word} mean?
What is the origin of the word {word}?
Where does the word {word} come from?
What is the meaning of the word {word}?
What is the dictionary definition of the word {word}?
How did the word {word} get its meaning?
What does the expression "{saying}" mean?
Where does the phrase "{saying}" come from?
What is the origin of the saying "{saying}"?
Why do people say "{saying}"?
What do people mean when they say "{saying}"?
How did the expression "{saying}" come about?
What is the difference between {pair}?
How do {pair} differ?
What distinguishes {pair}?
How can you tell {pair} apart?
Why do {habit}?
What makes {habit}?
Why is it that {habit}?
For what reason do {habit}?
How come {habit}?
What is the reason that {habit}?
Explain why {habit}.
Do scientists know why {habit}?
What is {animal.a}?
What does {animal.a} look like?
How do {animal.plural} find their food?
Describe the life of {animal.a}.
How do {animal.plural} protect their young?
In what manner do {animal.plural} move?
What happened during {event}?
What led to {event}?
Why did {event} take place?
What were the consequences of {event}?
What was the significance of {event}?
What brought about {event}?
What was {event}?
How did {event} come about?
What are the rules of {sport}?
How do you play {sport}?
What is the history of {sport}?
How did {sport} begin?
Why do people celebrate {holiday}?
How is {holiday} celebrated?
What is the story behind {holiday}?
What is the meaning of {holiday}?
"""

ENTY = """
What do {animal.plural} eat?
What is the favorite food of {animal.plural}?
On what food do {animal.plural} live?
What kind of food does {animal.a} eat?
What do you call a young {animal}?
What is the name for a baby {animal}?
What is a group of {animal.plural} called?
What is the term for a female {animal}?
What animal has {feature}?
Which animal is known for {feature}?
What is the name of the animal with {feature}?
Name the creature that has {feature}.
What color is {thing.a}?
What is the color of {thing.a}?
Which color does {thing.a} have?
In what color does {thing.a} come?
What language is spoken in {country}?
What is the official language of {country}?
Which language do most people in {country} speak?
Name the main language of {country}.
What is the currency of {country}?
Which currency is used in {country}?
What is the money of {country} called?
In what currency do people pay in {country}?
What language is related to {tongue}?
Which alphabet is used to write {tongue}?
What English words come from {tongue}?
What word is borrowed from {tongue}?
What is the national sport of {country}?
What crops are grown in {country}?
What is the national flower of {country}?
Which plant is the symbol of {country}?
What sport did {athlete} play?
In which sport did {athlete} become famous?
What sport made {athlete} a star?
Name the sport of {athlete}.
What instrument did {musician} play?
Which instrument made {musician} famous?
What musical instrument is {musician} known for playing?
On what instrument did {musician} perform?
What is the name of the tool used to {purpose}?
What tool do you need to {purpose}?
Which instrument is used to {purpose}?
What device helps you {purpose}?
What is the chemical symbol for {element}?
Which metal or gas is heavier than {element}?
What is the symbol of {element} in the periodic table?
What compounds contain {element}?
What substance reacts with {element}?
What is the main ingredient of {food}?
What ingredients go into {food}?
What is {food} made of?
What spice is used in {food}?
What sauce goes with {food}?
What drink is served with {food}?
Which wine goes well with {food}?
What did {scientist} discover?
What book made {author} famous?
Which novel did {author} write first?
What is the title of the last book by {author}?
What is the most famous work of {painter}?
Which painting by {painter} is the best known?
What is the name of the first work by {composer}?
Name a piece of music by {composer}.
Which film by {director} won the most awards?
What is the name of the best-known movie by {director}?
What movie did {director} make first?
Which film made {director} famous?
What song by {group} became a hit?
What was the first album by {group}?
What is the name of the last record by {group}?
Name a hit single by {group}.
What is the best-known product of {company}?
What was the first product sold by {company}?
What product is made by {company}?
Which article does {company} sell most?
What clothes did {character} wear?
What food did {character} like best?
What kind of animal is {animal.a}?
To which group of animals does {animal.a} belong?
What disease do {animal.plural} carry?
What vitamin helps against {disease}?
What drug is used against {disease}?
Which medicine cures {disease}?
What insect or germ spreads {disease}?
What piece of equipment is used in {sport}?
What object does a beginner in {sport} have to buy?
Which clothes are worn in {sport}?
What prize goes to the winner in {sport}?
What material is {landmark} built of?
What is another word for {adjective}?
What is the opposite of the word {adjective}?
Which word means the same as {adjective}?
What presents are given for {holiday}?
What dish is eaten for {holiday}?
Which food is traditional for {holiday}?
What material is used to make {instrument.a}?
What instrument looks like {instrument.a}?
Which musical instruments belong to the same family as the {instrument}?
What is the name of the instrument that resembles {instrument.a}?
What insect feeds on the {flower}?
What plant is related to the {flower}?
"""

HUM = """
Who wrote {book}?
Who is the author of {book}?
Which author wrote {book}?
What is the name of the writer of {book}?
Name the author of {book}.
What writer is known for {book}?
Which novelist created the characters in {book}?
By whom was {book} written?
Who painted {painting}?
Which artist painted {painting}?
What painter is famous for {painting}?
Name the painter of {painting}.
Who composed {music}?
Which composer wrote {music}?
Who wrote the music of {music}?
What is the name of the composer of {music}?
Who directed {film}?
Which director made {film}?
What actor played the leading role in {film}?
Who starred in {film}?
Name the director of {film}.
What is the name of the actress in {film}?
Who invented the {invention}?
Which inventor gave us the {invention}?
Who is credited with the invention of the {invention}?
What is the name of the person who invented the {invention}?
Who built the first {invention}?
Who came up with the idea of the {invention}?
What man or woman first made {invention.a}?
Name the inventor of the {invention}.
Who founded {company}?
What is the name of the founder of {company}?
Which businessman started {company}?
Who runs {company}?
Who is the head of {company}?
What people started {company}?
Who was the first president of {republic}?
Who is the leader of {country}?
What is the name of the president of {republic}?
Name the head of state of {country}.
Which leader ruled {country} longest?
Who was the first person to {record}?
What is the name of the first woman to {record}?
Which person was the first to {record}?
Who became the first man to {record}?
Name the first human being to {record}.
What American was the first to {record}?
What person became famous as the first to {record}?
What do you call a person who {work}?
Who {work} for a living?
What is the title of someone who {work}?
What is the name for a specialist who {work}?
What do you call a scientist who studies {subject}?
What is the name for an expert on {subject}?
Which scientist made important discoveries about {subject}?
Who is considered the father of the study of {subject}?
Who was {person}?
Who was the teacher of {person}?
Who wrote a biography of {person}?
What was the name of the best friend of {person}?
Which people influenced {person}?
Who was the father of {person}?
Who were the parents of {person}?
What was the name of the mother of {person}?
Who created {character}?
What is the name of the author who invented {character}?
Which actor played {character}?
Who was the best friend of {character}?
What actor is best remembered as {character}?
Who is the enemy of {character}?
Who is {character}?
Name the actor who became famous as {character}.
Who was the lead singer of {group}?
Which musicians played in {group}?
What is the name of the drummer of {group}?
Who were the members of {group}?
Who was the Greek god of {god}?
What is the name of the Roman god of {god}?
Which goddess or god was responsible for {god}?
Who was the ancient god of {god}?
Who led the troops during {event}?
Which general became a hero in {event}?
What leader was in power at the time of {event}?
Who was responsible for {event}?
Who discovered {element}?
Which chemist first isolated {element}?
What scientist found {element}?
What is the name of the scientist who discovered {element}?
Who designed {landmark}?
Which architect planned {landmark}?
What is the name of the architect of {landmark}?
Who built {landmark}?
Which company makes the most {product}?
What company is known for its {product}?
What team won the world championship in {sport}?
What team is the strongest in {sport}?
Who is the greatest player in {sport}?
Who holds the record in {sport}?
What company built the first {invention}?
In {film}, who played the hero?
In {book}, who tells the story?
Which famous people were born in {city}?
What university professor first studied {subject}?
Who was the mayor of {city} in the last century?
In the history of {country}, who was the most powerful ruler?
"""

LOC = """
What is the capital of {country}?
What city is the capital of {country}?
Name the capital of {country}.
Which city serves as the capital of {country}?
What is the largest city in {country}?
Which city in {country} has the most people?
What is the name of the biggest airport in {country}?
What is the second largest city in {country}?
Where is {city}?
In which country is {city}?
What country is {city} in?
In what country would you find {city}?
What river flows through {river_town}?
Which river runs through {river_town}?
What is the name of the river that crosses {river_town}?
On which river does {river_town} lie?
What is the name of the airport of {city}?
In which part of the country does {city} lie?
What state or province is {city} in?
Which sea is nearest to {city}?
Where does the {river} begin?
Into which sea does the {river} flow?
What countries does the {river} flow through?
What is the source of the {river}?
What city lies at the mouth of the {river}?
Which cities lie on the {river}?
Where does the {river} reach the sea?
Through which countries does the {river} run?
Where is {mountain}?
In which country is {mountain}?
What mountain range does {mountain} belong to?
On what continent does {mountain} stand?
What is the highest mountain in {country}?
What mountains lie in {country}?
Which lake is the deepest in {country}?
Name the highest peak in {country}.
Where is the island of {island}?
What sea surrounds {island}?
To which country does {island} belong?
In what waters can you find {island}?
What country owns the island of {island}?
Which harbour do ships to {island} leave from?
What is the nearest mainland to {island}?
Name the country that {island} is part of.
Where is {landmark}?
In what city is {city_landmark}?
Which city is home to {city_landmark}?
What is the location of {landmark}?
What city would you visit to see {city_landmark}?
Where can tourists see {landmark}?
Where would you go to see {landmark}?
In which city does {city_landmark} stand?
What countries border {bordered}?
Which continent is {country} on?
What is the name of a country near {country}?
What country shares a border with {bordered}?
Where on the map is {country}?
On what continent is {country}?
In which part of its continent does {country} lie?
Name a country that borders {bordered}.
Where was {person} born?
In what city was {person} born?
What is the birthplace of {person}?
Which town was the birthplace of {person}?
Where did {person} die?
Where is {person} buried?
In which country did {person} grow up?
Where did {person} go to school?
Where did {event} take place?
In which country did {event} happen?
What was the site of {event}?
What place is known for {event}?
Where do {animal.plural} live?
What country has the most {animal.plural}?
In what part of the world do {animal.plural} live?
Where would you find wild {animal.plural}?
Where does {food} come from?
Which country does {food} come from?
What is the home country of {food}?
What region is famous for {food}?
Where was the {invention} invented?
In what country was the {invention} first used?
Where are the headquarters of {company}?
What city is home to {company}?
In which city was {company} founded?
What country is {company} from?
What country celebrates {holiday}?
In which countries is {holiday} a public holiday?
What country has {attraction}?
Where can you see {attraction}?
What place in the world is famous for {attraction}?
Name a country where there are {attraction}.
Which state has the most {attraction}?
In what part of the world are there {attraction}?
In which country was {sport} invented?
Where was {sport} first played?
"""

NUM = """
What is the population of {country}?
How many people live in {country}?
What is the number of inhabitants of {country}?
How large is the population of {country}?
How many people live in {city}?
What is the population of {city}?
What percentage of people in {country} can read?
How many inhabitants does {city} have?
How big is {country}?
What is the area of {country}?
How many states or provinces does {country} have?
What is the size of {country} in acres?
How high is {mountain}?
What is the height of {mountain}?
How tall is {mountain}?
What is the elevation of {mountain} in feet?
How long is the {river}?
What is the length of the {river}?
How wide is the {river} at its mouth?
How deep is the {river}?
How tall is {landmark}?
When was {landmark} built?
What year was {landmark} finished?
In what year did work on {landmark} begin?
How many people visit {landmark} every year?
How old is {landmark}?
How far is {city} from {city#2}?
What is the distance between {city} and {city#2}?
How long is the road from {city} to {city#2}?
How long does it take to fly from {city} to {city#2}?
When was {person} born?
In what year was {person} born?
What year did {person} die?
What is the date of birth of {person}?
When did {person} die?
At what age did {person} die?
How many children did {person} have?
How old was {person} at the time of death?
What was the birthday of {person}?
On what day was {person} born?
When did {event} happen?
What year did {event} take place?
In what century was {event}?
What was the date of {event}?
How many years ago was {event}?
In which year did {event} happen?
How long did {event} last?
Name the year of {event}.
When was the {invention} invented?
What year was the {invention} patented?
In which century did the {invention} appear?
In what year did someone invent the {invention}?
When was {book} published?
How many pages are there in {book}?
What year did {book} come out?
How many copies of {book} have been sold?
When did {film} come out?
How much money did {film} make?
How many awards did {film} win?
What year was {film} released?
How long does {animal.a} live?
What is the average life span of {animal.a}?
How fast can {animal.a} run, swim or fly?
What is the top speed of {animal.a}?
How much does {animal.a} weigh?
What is the average weight of {animal.a}?
How many teeth does {animal.a} have?
How many young does {animal.a} have at a time?
How many {unit.small} are there in {unit.a}?
How many {unit.small} make {unit.a}?
What is the number of {unit.small} in {unit.a}?
{unit.A} is equal to how many {unit.small}?
What is the atomic number of {element}?
How many protons does {element} have?
At what temperature does {element} melt?
What is the boiling point of {element}?
What is the density of {element}?
How heavy is an atom of {element}?
How many moons does {planet} have?
How far is {planet} from the sun?
What is the diameter of {planet}?
How long is a day on {planet}?
How many players are there on a team in {team_sport}?
What is the number of players in {team_sport}?
How many points do you need to win a game of {sport}?
How long does a match last in {sport}?
How much does {good.a} cost?
What is the price of {good.a}?
How much money do you have to pay for {good.a}?
What does {good.a} cost on average?
When was {company} founded?
How many people work for {company}?
What year was {company} started?
In what year did {company} open for business?
How much is {company} worth?
What percentage of the workers of {company} are women?
What is the date of {holiday} this year?
When is {holiday}?
How many people celebrate {holiday}?
On what date does {holiday} fall?
What is the telephone code for {country}?
How many calories are there in a portion of {food}?
How many people speak {tongue}?
What is the number of native speakers of {tongue}?
When did {republic} become a republic?
How many strings, keys or holes does {instrument.a} have?
What is the average temperature in {city} in winter?
In what year did {country} join the United Nations?
"""

TEMPLATES = {
    label: text.strip().splitlines()
    for label, text in (("ABBR", ABBR), ("DESC", DESC), ("ENTY", ENTY), ("HUM", HUM), ("LOC", LOC), ("NUM", NUM))
}
