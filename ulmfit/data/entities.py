"""Fact tables about the world: the word lists behind the questions and the prose.

One table a kind of thing, one row a thing, columns divided by `|`. The first column names the thing; the others are
facts about it that the prose states (the questions ask for facts and never state them). `-` marks a fact that does
not apply. Everything was written for this project from common knowledge; a row whose facts we were not sure of
was left out.
"""

Row = dict[str, str]


def table(columns: str, text: str) -> list[Row]:
    """Rows of a table: `columns` names the fields, each line of `text` holds their values divided by `|`."""
    names = columns.split()
    rows = [line.split("|") for line in text.strip().splitlines()]
    for row in rows:
        if len(row) != len(names):
            raise ValueError(f"row {row} has {len(row)} fields, the table has {len(names)}: {columns}")
    return [dict(zip(names, row, strict=True)) for row in rows]


COUNTRIES = table("name capital continent currency language government neighbour", """
Austria|Vienna|Europe|euro|German|republic|Hungary
Hungary|Budapest|Europe|forint|Hungarian|republic|Romania
Poland|Warsaw|Europe|zloty|Polish|republic|Slovakia
Portugal|Lisbon|Europe|euro|Portuguese|republic|Spain
Spain|Madrid|Europe|euro|Spanish|kingdom|Portugal
France|Paris|Europe|euro|French|republic|Belgium
Germany|Berlin|Europe|euro|German|republic|Denmark
Italy|Rome|Europe|euro|Italian|republic|Slovenia
Greece|Athens|Europe|euro|Greek|republic|Albania
Romania|Bucharest|Europe|leu|Romanian|republic|Hungary
Sweden|Stockholm|Europe|krona|Swedish|kingdom|Norway
Norway|Oslo|Europe|krone|Norwegian|kingdom|Finland
Denmark|Copenhagen|Europe|krone|Danish|kingdom|Germany
Finland|Helsinki|Europe|euro|Finnish|republic|Sweden
Iceland|Reykjavik|Europe|krona|Icelandic|republic|-
Ireland|Dublin|Europe|euro|English|republic|-
Belgium|Brussels|Europe|euro|Dutch|kingdom|France
Croatia|Zagreb|Europe|euro|Croatian|republic|Slovenia
Serbia|Belgrade|Europe|dinar|Serbian|republic|Hungary
Slovenia|Ljubljana|Europe|euro|Slovene|republic|Austria
Slovakia|Bratislava|Europe|euro|Slovak|republic|Poland
Albania|Tirana|Europe|lek|Albanian|republic|Greece
Estonia|Tallinn|Europe|euro|Estonian|republic|Latvia
Latvia|Riga|Europe|euro|Latvian|republic|Lithuania
Lithuania|Vilnius|Europe|euro|Lithuanian|republic|Poland
Ukraine|Kyiv|Europe|hryvnia|Ukrainian|republic|Poland
Japan|Tokyo|Asia|yen|Japanese|monarchy|-
China|Beijing|Asia|yuan|Mandarin|republic|Mongolia
India|New Delhi|Asia|rupee|Hindi|republic|Nepal
Pakistan|Islamabad|Asia|rupee|Urdu|republic|India
Bangladesh|Dhaka|Asia|taka|Bengali|republic|India
Nepal|Kathmandu|Asia|rupee|Nepali|republic|India
Bhutan|Thimphu|Asia|ngultrum|Dzongkha|kingdom|India
Thailand|Bangkok|Asia|baht|Thai|kingdom|Laos
Vietnam|Hanoi|Asia|dong|Vietnamese|republic|Laos
Laos|Vientiane|Asia|kip|Lao|republic|Vietnam
Cambodia|Phnom Penh|Asia|riel|Khmer|kingdom|Thailand
Malaysia|Kuala Lumpur|Asia|ringgit|Malay|monarchy|Thailand
Mongolia|Ulaanbaatar|Asia|tugrik|Mongolian|republic|China
South Korea|Seoul|Asia|won|Korean|republic|-
Kazakhstan|Astana|Asia|tenge|Kazakh|republic|Uzbekistan
Uzbekistan|Tashkent|Asia|som|Uzbek|republic|Kazakhstan
Iran|Tehran|Asia|rial|Persian|republic|Iraq
Iraq|Baghdad|Asia|dinar|Arabic|republic|Iran
Jordan|Amman|Asia|dinar|Arabic|kingdom|Iraq
Lebanon|Beirut|Asia|pound|Arabic|republic|-
Qatar|Doha|Asia|riyal|Arabic|monarchy|Saudi Arabia
Saudi Arabia|Riyadh|Asia|riyal|Arabic|kingdom|Jordan
Egypt|Cairo|Africa|pound|Arabic|republic|Sudan
Morocco|Rabat|Africa|dirham|Arabic|kingdom|Algeria
Algeria|Algiers|Africa|dinar|Arabic|republic|Tunisia
Tunisia|Tunis|Africa|dinar|Arabic|republic|Algeria
Ethiopia|Addis Ababa|Africa|birr|Amharic|republic|Kenya
Kenya|Nairobi|Africa|shilling|Swahili|republic|Uganda
Uganda|Kampala|Africa|shilling|English|republic|Kenya
Tanzania|Dodoma|Africa|shilling|Swahili|republic|Zambia
Nigeria|Abuja|Africa|naira|English|republic|Cameroon
Ghana|Accra|Africa|cedi|English|republic|-
Senegal|Dakar|Africa|franc|French|republic|-
Zambia|Lusaka|Africa|kwacha|English|republic|Angola
Angola|Luanda|Africa|kwanza|Portuguese|republic|Namibia
Namibia|Windhoek|Africa|dollar|English|republic|Botswana
Botswana|Gaborone|Africa|pula|English|republic|Namibia
Mozambique|Maputo|Africa|metical|Portuguese|republic|Zambia
Madagascar|Antananarivo|Africa|ariary|Malagasy|republic|-
Sudan|Khartoum|Africa|pound|Arabic|republic|Egypt
Canada|Ottawa|North America|dollar|English|monarchy|-
Mexico|Mexico City|North America|peso|Spanish|republic|Guatemala
Guatemala|Guatemala City|North America|quetzal|Spanish|republic|Mexico
Honduras|Tegucigalpa|North America|lempira|Spanish|republic|Guatemala
Nicaragua|Managua|North America|cordoba|Spanish|republic|Honduras
Panama|Panama City|North America|balboa|Spanish|republic|Colombia
Cuba|Havana|North America|peso|Spanish|republic|-
Jamaica|Kingston|North America|dollar|English|monarchy|-
Colombia|Bogota|South America|peso|Spanish|republic|Venezuela
Venezuela|Caracas|South America|bolivar|Spanish|republic|Colombia
Ecuador|Quito|South America|dollar|Spanish|republic|Peru
Peru|Lima|South America|sol|Spanish|republic|Ecuador
Chile|Santiago|South America|peso|Spanish|republic|Argentina
Argentina|Buenos Aires|South America|peso|Spanish|republic|Uruguay
Uruguay|Montevideo|South America|peso|Spanish|republic|Brazil
Paraguay|Asuncion|South America|guarani|Spanish|republic|Argentina
Brazil|Brasilia|South America|real|Portuguese|republic|Uruguay
Australia|Canberra|Oceania|dollar|English|monarchy|-
New Zealand|Wellington|Oceania|dollar|English|monarchy|-
Fiji|Suva|Oceania|dollar|English|republic|-
""")

CITIES = table("name country known", """
Barcelona|Spain|the unfinished church designed by Antoni Gaudi
Seville|Spain|its orange trees and flamenco
Munich|Germany|its beer halls and its autumn festival
Hamburg|Germany|its large harbour
Salzburg|Austria|being the birthplace of Mozart
Geneva|Switzerland|its lake and its international organizations
Zurich|Switzerland|its banks
Milan|Italy|fashion and opera
Venice|Italy|its canals and gondolas
Florence|Italy|the art of the Renaissance
Naples|Italy|pizza
Marseille|France|its old port
Lyon|France|silk and good cooking
Porto|Portugal|sweet wine
Krakow|Poland|its great market square
Antwerp|Belgium|diamonds
Gothenburg|Sweden|its shipyards
Bergen|Norway|rain and fjords
Thessaloniki|Greece|its white tower by the sea
Edinburgh|Scotland|its castle and its summer festival
Glasgow|Scotland|shipbuilding
Liverpool|England|its docks and the Beatles
Manchester|England|cotton and football
Oxford|England|its old university
Istanbul|Turkey|its place on two continents
Saint Petersburg|Russia|its white nights and palaces
Mumbai|India|its film industry
Kolkata|India|its literature and its trams
Osaka|Japan|street food
Kyoto|Japan|temples and gardens
Hiroshima|Japan|its peace memorial
Shanghai|China|its skyline and port
Karachi|Pakistan|being the largest city of its country
Marrakesh|Morocco|its red walls and markets
Casablanca|Morocco|a famous film of 1942
Alexandria|Egypt|the great library of antiquity
Lagos|Nigeria|its size and its music
Mombasa|Kenya|its old harbour on the Indian Ocean
Toronto|Canada|a very tall tower
Vancouver|Canada|mountains beside the sea
Montreal|Canada|speaking French
Chicago|the United States|wind and tall buildings
Boston|the United States|a tea party in 1773
Seattle|the United States|coffee and aircraft
New Orleans|the United States|jazz
San Francisco|the United States|its red bridge and steep streets
Rio de Janeiro|Brazil|its carnival
Medellin|Colombia|its mild climate
Cusco|Peru|having been the capital of the Incas
Sydney|Australia|its opera house
Melbourne|Australia|tennis and coffee
Auckland|New Zealand|sailing boats
""")

RIVERS = table("name city sea continent", """
Danube|Vienna|the Black Sea|Europe
Rhine|Cologne|the North Sea|Europe
Seine|Paris|the English Channel|Europe
Thames|London|the North Sea|Europe
Elbe|Dresden|the North Sea|Europe
Vistula|Warsaw|the Baltic Sea|Europe
Tagus|Lisbon|the Atlantic Ocean|Europe
Tiber|Rome|the Tyrrhenian Sea|Europe
Po|Turin|the Adriatic Sea|Europe
Loire|Nantes|the Atlantic Ocean|Europe
Rhone|Lyon|the Mediterranean Sea|Europe
Volga|Volgograd|the Caspian Sea|Europe
Dnieper|Kyiv|the Black Sea|Europe
Nile|Cairo|the Mediterranean Sea|Africa
Congo|Kinshasa|the Atlantic Ocean|Africa
Niger|Bamako|the Gulf of Guinea|Africa
Euphrates|Raqqa|the Persian Gulf|Asia
Tigris|Baghdad|the Persian Gulf|Asia
Ganges|Varanasi|the Bay of Bengal|Asia
Yangtze|Wuhan|the East China Sea|Asia
Mekong|Phnom Penh|the South China Sea|Asia
Irrawaddy|Mandalay|the Andaman Sea|Asia
Yukon|Whitehorse|the Bering Sea|North America
Mississippi|New Orleans|the Gulf of Mexico|North America
Hudson|New York|the Atlantic Ocean|North America
Potomac|Washington|Chesapeake Bay|North America
Amazon|Manaus|the Atlantic Ocean|South America
Orinoco|Ciudad Bolivar|the Atlantic Ocean|South America
""")

MOUNTAINS = table("name where height", """
Mount Everest|the Himalayas|8,849
Kangchenjunga|the Himalayas|8,586
Annapurna|the Himalayas|8,091
Mont Blanc|the Alps|4,806
the Matterhorn|the Alps|4,478
Mount Kilimanjaro|Tanzania|5,895
Mount Kenya|Kenya|5,199
Mount Fuji|Japan|3,776
Mount Elbrus|the Caucasus|5,642
Denali|Alaska|6,190
Mount Whitney|California|4,421
Mount Rainier|the state of Washington|4,392
Aconcagua|the Andes|6,961
Chimborazo|Ecuador|6,263
Mount Olympus|Greece|2,918
Ben Nevis|Scotland|1,345
Mount Kosciuszko|Australia|2,228
Aoraki|New Zealand|3,724
Popocatepetl|Mexico|5,393
Triglav|Slovenia|2,864
Vinson Massif|Antarctica|4,892
Mauna Kea|Hawaii|4,207
""")

ISLANDS = table("name sea", """
Sicily|the Mediterranean Sea
Sardinia|the Mediterranean Sea
Crete|the Mediterranean Sea
Corsica|the Mediterranean Sea
Mallorca|the Mediterranean Sea
Gotland|the Baltic Sea
Zanzibar|the Indian Ocean
Bali|the Indian Ocean
Sumatra|the Indian Ocean
Tenerife|the Atlantic Ocean
Newfoundland|the Atlantic Ocean
Madeira|the Atlantic Ocean
Saint Helena|the Atlantic Ocean
Hokkaido|the Pacific Ocean
Tahiti|the Pacific Ocean
Aruba|the Caribbean Sea
Martinique|the Caribbean Sea
Bornholm|the Baltic Sea
Rhodes|the Mediterranean Sea
Bermuda|the Atlantic Ocean
Guam|the Pacific Ocean
""")

LANDMARKS = table("name place kind", """
the Eiffel Tower|Paris|an iron tower
the Colosseum|Rome|an ancient arena
the Parthenon|Athens|a temple of marble
the Brandenburg Gate|Berlin|a city gate
the Alhambra|Granada|a palace of the Moors
the Hagia Sophia|Istanbul|a domed church that became a mosque
the Taj Mahal|Agra|a tomb of white marble
the Forbidden City|Beijing|a palace of emperors
the Golden Gate Bridge|San Francisco|a suspension bridge
the Brooklyn Bridge|New York|a suspension bridge
the Statue of Liberty|New York|a statue of copper
the Empire State Building|New York|a tall office building
the White House|Washington|the home of presidents
the Space Needle|Seattle|an observation tower
the Louvre|Paris|a museum of art
the Prado|Madrid|a museum of art
the Uffizi Gallery|Florence|a museum of art
the Hermitage|Saint Petersburg|a museum in a palace
the Kremlin|Moscow|a fortress
the Great Sphinx|Giza|a statue with the body of a lion
the Burj Khalifa|Dubai|a very tall skyscraper
the Petronas Towers|Kuala Lumpur|a pair of skyscrapers
the Atomium|Brussels|a building shaped like a crystal
the Little Mermaid|Copenhagen|a small statue on a rock
Angkor Wat|Cambodia|a temple
Machu Picchu|Peru|a ruined town of the Incas
Stonehenge|England|a ring of standing stones
Petra|Jordan|a town cut into rock
Chichen Itza|Mexico|a ruined city of the Maya
Neuschwanstein Castle|Bavaria|a royal castle
""")

BOOKS = table("name author year kind", """
Don Quixote|Miguel de Cervantes|1605|a novel about a knight with too much imagination
Robinson Crusoe|Daniel Defoe|1719|a novel about a castaway
Gulliver's Travels|Jonathan Swift|1726|a satire on travel and politics
Pride and Prejudice|Jane Austen|1813|a novel about marriage and manners
Emma|Jane Austen|1815|a novel about a matchmaker
Frankenstein|Mary Shelley|1818|a novel about a scientist and his creature
The Three Musketeers|Alexandre Dumas|1844|an adventure novel
Jane Eyre|Charlotte Bronte|1847|a novel about a governess
Wuthering Heights|Emily Bronte|1847|a novel of love and revenge
David Copperfield|Charles Dickens|1850|a novel about growing up
Moby-Dick|Herman Melville|1851|a novel about a whaling ship
Walden|Henry David Thoreau|1854|a book about simple life beside a pond
Madame Bovary|Gustave Flaubert|1857|a novel about an unhappy wife
Great Expectations|Charles Dickens|1861|a novel about an orphan
Les Miserables|Victor Hugo|1862|a novel about justice and mercy
Alice's Adventures in Wonderland|Lewis Carroll|1865|a children's story about a strange dream
Crime and Punishment|Fyodor Dostoevsky|1866|a novel about guilt
War and Peace|Leo Tolstoy|1869|a novel about the wars of Napoleon
Middlemarch|George Eliot|1871|a novel about provincial life
Anna Karenina|Leo Tolstoy|1878|a novel about a fatal love
Treasure Island|Robert Louis Stevenson|1883|an adventure story about pirates
The Time Machine|H. G. Wells|1895|a story about travel into the future
Dracula|Bram Stoker|1897|a novel about a vampire
The Call of the Wild|Jack London|1903|a novel about a sled dog
Peter and Wendy|J. M. Barrie|1911|a story about a boy who never grows up
Ulysses|James Joyce|1922|a novel about one day in Dublin
The Great Gatsby|F. Scott Fitzgerald|1925|a novel about wealth and longing
To the Lighthouse|Virginia Woolf|1927|a novel about a family by the sea
Brave New World|Aldous Huxley|1932|a novel about a controlled society
Gone with the Wind|Margaret Mitchell|1936|a novel about the American Civil War
The Hobbit|J. R. R. Tolkien|1937|a fantasy story about a journey to a dragon
The Grapes of Wrath|John Steinbeck|1939|a novel about poor farmers
The Little Prince|Antoine de Saint-Exupery|1943|a tale about a boy from another planet
Pippi Longstocking|Astrid Lindgren|1945|a story about a very strong girl
Animal Farm|George Orwell|1945|a fable about power
The Old Man and the Sea|Ernest Hemingway|1952|a short novel about a fisherman
Lord of the Flies|William Golding|1954|a novel about boys on an island
Things Fall Apart|Chinua Achebe|1958|a novel about an African village
To Kill a Mockingbird|Harper Lee|1960|a novel about a trial in the South
One Hundred Years of Solitude|Gabriel Garcia Marquez|1967|a novel about a family and its town
The Name of the Rose|Umberto Eco|1980|a mystery in a monastery
The Alchemist|Paulo Coelho|1988|a story about a shepherd
""")

PAINTINGS = table("name painter", """
the Mona Lisa|Leonardo da Vinci
The Last Supper|Leonardo da Vinci
The Starry Night|Vincent van Gogh
The Potato Eaters|Vincent van Gogh
Guernica|Pablo Picasso
The Night Watch|Rembrandt
The Scream|Edvard Munch
The Kiss|Gustav Klimt
The Birth of Venus|Sandro Botticelli
The School of Athens|Raphael
Girl with a Pearl Earring|Johannes Vermeer
The Persistence of Memory|Salvador Dali
Las Meninas|Diego Velazquez
American Gothic|Grant Wood
Nighthawks|Edward Hopper
The Third of May 1808|Francisco Goya
Liberty Leading the People|Eugene Delacroix
The Garden of Earthly Delights|Hieronymus Bosch
The Great Wave off Kanagawa|Hokusai
The Hay Wain|John Constable
""")

MUSIC = table("name composer kind", """
The Four Seasons|Antonio Vivaldi|a group of violin concertos
Messiah|George Frideric Handel|an oratorio
The Brandenburg Concertos|Johann Sebastian Bach|a set of six concertos
The Magic Flute|Wolfgang Amadeus Mozart|an opera
The Creation|Joseph Haydn|an oratorio
Fidelio|Ludwig van Beethoven|an opera
The Barber of Seville|Gioachino Rossini|an opera
Symphonie fantastique|Hector Berlioz|a symphony
Carmen|Georges Bizet|an opera
La traviata|Giuseppe Verdi|an opera
Aida|Giuseppe Verdi|an opera
Parsifal|Richard Wagner|an opera
Swan Lake|Pyotr Tchaikovsky|a ballet
The Nutcracker|Pyotr Tchaikovsky|a ballet
La boheme|Giacomo Puccini|an opera
Tosca|Giacomo Puccini|an opera
The Planets|Gustav Holst|an orchestral suite
Bolero|Maurice Ravel|a piece for orchestra
The Rite of Spring|Igor Stravinsky|a ballet
Rhapsody in Blue|George Gershwin|a piece for piano and band
Finlandia|Jean Sibelius|a tone poem
The Blue Danube|Johann Strauss|a waltz
Peter and the Wolf|Sergei Prokofiev|a tale for narrator and orchestra
""")

FILMS = table("name director year", """
Metropolis|Fritz Lang|1927
City Lights|Charlie Chaplin|1931
Citizen Kane|Orson Welles|1941
Casablanca|Michael Curtiz|1942
Rashomon|Akira Kurosawa|1950
Singin' in the Rain|Gene Kelly and Stanley Donen|1952
Roman Holiday|William Wyler|1953
Seven Samurai|Akira Kurosawa|1954
Vertigo|Alfred Hitchcock|1958
The Seventh Seal|Ingmar Bergman|1957
Psycho|Alfred Hitchcock|1960
La Dolce Vita|Federico Fellini|1960
Lawrence of Arabia|David Lean|1962
Dr. Strangelove|Stanley Kubrick|1964
The Godfather|Francis Ford Coppola|1972
Jaws|Steven Spielberg|1975
Taxi Driver|Martin Scorsese|1976
Star Wars|George Lucas|1977
Alien|Ridley Scott|1979
Blade Runner|Ridley Scott|1982
Titanic|James Cameron|1997
Spirited Away|Hayao Miyazaki|2001
""")

INVENTIONS = table("name maker year use", """
telephone|Alexander Graham Bell|1876|to speak with people far away
phonograph|Thomas Edison|1877|to record and play sound
dynamite|Alfred Nobel|1867|to blast rock
lightning rod|Benjamin Franklin|1752|to keep buildings safe in storms
steam locomotive|Richard Trevithick|1804|to pull wagons on rails
stethoscope|Rene Laennec|1816|to listen to the heart
cotton gin|Eli Whitney|1793|to clean cotton
hot air balloon|the Montgolfier brothers|1783|to rise into the sky
barometer|Evangelista Torricelli|1643|to measure the pressure of the air
pendulum clock|Christiaan Huygens|1656|to keep time
mercury thermometer|Daniel Gabriel Fahrenheit|1714|to measure temperature
electric battery|Alessandro Volta|1800|to store and supply electric current
printing press|Johannes Gutenberg|1440|to print many copies of a page
sewing machine|Elias Howe|1846|to stitch cloth
safety pin|Walter Hunt|1849|to fasten cloth
diesel engine|Rudolf Diesel|1893|to drive trucks and ships
motorcycle|Gottlieb Daimler|1885|to ride on two wheels
zipper|Whitcomb Judson|1893|to close shoes and clothes
safety razor|King Camp Gillette|1901|to shave
air conditioner|Willis Carrier|1902|to cool rooms
vacuum cleaner|Hubert Cecil Booth|1901|to remove dust
electron microscope|Ernst Ruska|1931|to see things smaller than light can show
jet engine|Frank Whittle|1930|to drive aircraft
helicopter|Igor Sikorsky|1939|to fly straight up and hover
ballpoint pen|Laszlo Biro|1938|to write
microwave oven|Percy Spencer|1945|to heat food
revolver|Samuel Colt|1836|to fire several shots without reloading
saxophone|Adolphe Sax|1840|to play jazz
seismograph|John Milne|1880|to record earthquakes
""")

PEOPLE = table("name job born died birthplace deed", """
Isaac Newton|physicist|1642|1727|Woolsthorpe|explained gravity and the motion of the planets
Galileo Galilei|astronomer|1564|1642|Pisa|saw the moons of Jupiter through a telescope
Nicolaus Copernicus|astronomer|1473|1543|Torun|placed the sun at the centre of the planets
Johannes Kepler|astronomer|1571|1630|Weil der Stadt|found the laws of planetary motion
Marie Curie|physicist|1867|1934|Warsaw|discovered polonium and radium
Albert Einstein|physicist|1879|1955|Ulm|developed the theory of relativity
Niels Bohr|physicist|1885|1962|Copenhagen|described the structure of the atom
Michael Faraday|physicist|1791|1867|London|discovered electromagnetic induction
Charles Darwin|naturalist|1809|1882|Shrewsbury|explained evolution by natural selection
Gregor Mendel|monk and botanist|1822|1884|Heinzendorf|found the rules of heredity in peas
Louis Pasteur|chemist|1822|1895|Dole|showed that germs spoil milk and wine
Alexander Fleming|doctor|1881|1955|Darvel|discovered penicillin
Edward Jenner|doctor|1749|1823|Berkeley|made the first vaccine against smallpox
Leonhard Euler|mathematician|1707|1783|Basel|wrote more mathematics than anyone before
Carl Friedrich Gauss|mathematician|1777|1855|Brunswick|worked on numbers, curves and the stars
Alan Turing|mathematician|1912|1954|London|described a universal computing machine
Ada Lovelace|mathematician|1815|1852|London|wrote notes on a mechanical computer
Immanuel Kant|philosopher|1724|1804|Konigsberg|wrote about reason and duty
Rene Descartes|philosopher|1596|1650|La Haye|joined algebra with geometry
Napoleon Bonaparte|emperor|1769|1821|Ajaccio|ruled France and fought most of Europe
Julius Caesar|general|100 BC|44 BC|Rome|conquered Gaul
Abraham Lincoln|president|1809|1865|Hodgenville|ended slavery in the United States
George Washington|president|1732|1799|Westmoreland County|led the American army to independence
Winston Churchill|prime minister|1874|1965|Woodstock|led Britain through the Second World War
Mahatma Gandhi|political leader|1869|1948|Porbandar|led India to independence without violence
Nelson Mandela|president|1918|2013|Mvezo|led South Africa out of apartheid
Simon Bolivar|general|1783|1830|Caracas|freed much of South America from Spain
Joan of Arc|soldier and saint|1412|1431|Domremy|led a French army as a girl
Martin Luther|monk|1483|1546|Eisleben|began the Reformation
Christopher Columbus|explorer|1451|1506|Genoa|crossed the Atlantic in 1492
Ferdinand Magellan|explorer|1480|1521|Sabrosa|led the first voyage around the world
Marco Polo|merchant|1254|1324|Venice|travelled to the court of Kublai Khan
James Cook|explorer|1728|1779|Marton|mapped the coasts of New Zealand
Roald Amundsen|explorer|1872|1928|Borge|reached the South Pole first
David Livingstone|missionary|1813|1873|Blantyre|crossed Africa from coast to coast
Amelia Earhart|pilot|1897|1937|Atchison|flew alone across the Atlantic
Yuri Gagarin|cosmonaut|1934|1968|Klushino|was the first human in space
Neil Armstrong|astronaut|1930|2012|Wapakoneta|was the first human on the moon
Frederic Chopin|composer|1810|1849|Zelazowa Wola|wrote mazurkas and nocturnes
Franz Schubert|composer|1797|1828|Vienna|wrote more than six hundred songs
Claude Monet|painter|1840|1926|Paris|painted water lilies again and again
Auguste Rodin|sculptor|1840|1917|Paris|made the statue called The Thinker
Frida Kahlo|painter|1907|1954|Coyoacan|painted herself in bright colours
William Shakespeare|playwright|1564|1616|Stratford-upon-Avon|wrote Hamlet and Macbeth
Johann Wolfgang von Goethe|writer|1749|1832|Frankfurt|wrote the drama Faust
Hans Christian Andersen|writer|1805|1875|Odense|wrote fairy tales
Mark Twain|writer|1835|1910|Florida, Missouri|wrote about life on a great river
Agatha Christie|writer|1890|1976|Torquay|wrote detective stories
Franz Kafka|writer|1883|1924|Prague|wrote about a man who wakes up as an insect
Florence Nightingale|nurse|1820|1910|Florence|reformed the care of wounded soldiers
Clara Barton|nurse|1821|1912|Oxford|founded the American Red Cross
Jesse Owens|sprinter|1913|1980|Oakville|won four gold medals in Berlin
Muhammad Ali|boxer|1942|2016|Louisville|was heavyweight champion three times
Emil Zatopek|runner|1922|2000|Koprivnice|won three gold medals in Helsinki
Babe Ruth|baseball player|1895|1948|Baltimore|hit more home runs than anyone before
""")

COMPANIES = table("name founder year product", """
Ford|Henry Ford|1903|cars
Toyota|Kiichiro Toyoda|1937|cars
Ferrari|Enzo Ferrari|1939|sports cars
Honda|Soichiro Honda|1948|motorcycles and cars
Boeing|William Boeing|1916|aircraft
Microsoft|Bill Gates and Paul Allen|1975|software
Apple|Steve Jobs, Steve Wozniak and Ronald Wayne|1976|computers and telephones
Intel|Gordon Moore and Robert Noyce|1968|processors
Amazon|Jeff Bezos|1994|an online shop
Google|Larry Page and Sergey Brin|1998|a search engine
Nintendo|Fusajiro Yamauchi|1889|video games
Sony|Masaru Ibuka and Akio Morita|1946|electronics
Lego|Ole Kirk Christiansen|1932|toy bricks
Ikea|Ingvar Kamprad|1943|furniture
Adidas|Adi Dassler|1949|sports shoes
Puma|Rudolf Dassler|1948|sports shoes
Nestle|Henri Nestle|1866|chocolate and coffee
Heineken|Gerard Heineken|1864|beer
Siemens|Werner von Siemens|1847|electrical machines
Philips|Gerard Philips and Frederik Philips|1891|lamps and electronics
Kodak|George Eastman|1888|cameras and film
Rolex|Hans Wilsdorf and Alfred Davis|1905|watches
Chanel|Coco Chanel|1910|clothes and perfume
Gucci|Guccio Gucci|1921|leather goods
Disney|Walt Disney and Roy Disney|1923|animated films
Starbucks|Jerry Baldwin, Zev Siegl and Gordon Bowker|1971|coffee
Levi Strauss|Levi Strauss|1853|jeans
Nokia|Fredrik Idestam|1865|telephones
""")

ELEMENTS = table("name symbol number kind use", """
hydrogen|H|1|a gas|rocket fuel
helium|He|2|a gas|balloons
lithium|Li|3|a light metal|batteries
boron|B|5|a metalloid|heat-proof glass
nitrogen|N|7|a gas|fertilizers
fluorine|F|9|a gas|toothpaste
neon|Ne|10|a gas|bright signs
sodium|Na|11|a soft metal|street lamps
magnesium|Mg|12|a light metal|flares
aluminium|Al|13|a light metal|cans and aircraft
silicon|Si|14|a metalloid|computer chips
phosphorus|P|15|a nonmetal|matches
sulfur|S|16|a nonmetal|gunpowder
chlorine|Cl|17|a gas|swimming pools
argon|Ar|18|a gas|welding
potassium|K|19|a soft metal|fertilizers
calcium|Ca|20|a metal|cement
titanium|Ti|22|a strong metal|artificial joints
chromium|Cr|24|a hard metal|shiny coatings
manganese|Mn|25|a metal|steel
cobalt|Co|27|a metal|blue glass
nickel|Ni|28|a metal|coins
copper|Cu|29|a red metal|electric wires
zinc|Zn|30|a metal|coatings that stop rust
arsenic|As|33|a metalloid|poisons
bromine|Br|35|a liquid|flame retardants
krypton|Kr|36|a gas|lamps
silver|Ag|47|a precious metal|jewellery
cadmium|Cd|48|a soft metal|yellow paint
iodine|I|53|a nonmetal|disinfectants
xenon|Xe|54|a gas|headlights
barium|Ba|56|a metal|medical imaging
tungsten|W|74|a heavy metal|the wires in old light bulbs
platinum|Pt|78|a precious metal|catalysts
bismuth|Bi|83|a heavy metal|medicine for the stomach
uranium|U|92|a heavy metal|nuclear power
plutonium|Pu|94|a radioactive metal|power for space probes
""")

ANIMALS = table("name plural group food home young", """
lion|lions|mammal|meat|the savanna|cub
tiger|tigers|mammal|meat|the forests of Asia|cub
cheetah|cheetahs|mammal|meat|the savanna|cub
wolf|wolves|mammal|meat|northern forests|pup
fox|foxes|mammal|small animals and fruit|woods and fields|cub
polar bear|polar bears|mammal|seals|the Arctic|cub
giant panda|giant pandas|mammal|bamboo|mountain forests in China|cub
elephant|elephants|mammal|grass, leaves and bark|savannas and forests|calf
giraffe|giraffes|mammal|leaves|the savanna|calf
zebra|zebras|mammal|grass|the savanna|foal
hippopotamus|hippopotamuses|mammal|grass|rivers and lakes in Africa|calf
rhinoceros|rhinoceroses|mammal|grass and leaves|savannas and forests|calf
camel|camels|mammal|dry grass and thorny plants|deserts|calf
donkey|donkeys|mammal|grass and hay|farms|foal
goat|goats|mammal|grass and shrubs|farms and mountains|kid
reindeer|reindeer|mammal|lichen and grass|the far north|calf
moose|moose|mammal|twigs and water plants|northern forests|calf
kangaroo|kangaroos|mammal|grass|the plains of Australia|joey
koala|koalas|mammal|eucalyptus leaves|the forests of Australia|joey
beaver|beavers|mammal|bark and twigs|rivers and ponds|kit
rabbit|rabbits|mammal|grass and vegetables|meadows and burrows|kit
hedgehog|hedgehogs|mammal|insects and worms|gardens and hedges|hoglet
otter|otters|mammal|fish|rivers and coasts|pup
walrus|walruses|mammal|clams|the Arctic|calf
blue whale|blue whales|mammal|krill|the oceans|calf
dolphin|dolphins|mammal|fish and squid|the sea|calf
bat|bats|mammal|insects or fruit|caves and old buildings|pup
gorilla|gorillas|mammal|leaves and shoots|the forests of Africa|infant
chimpanzee|chimpanzees|mammal|fruit and leaves|the forests of Africa|infant
sloth|sloths|mammal|leaves|the rainforests of South America|infant
eagle|eagles|bird|fish and small animals|mountains and coasts|eaglet
owl|owls|bird|mice|woods and barns|owlet
swan|swans|bird|water plants|lakes and rivers|cygnet
goose|geese|bird|grass|meadows and lakes|gosling
duck|ducks|bird|plants and small water animals|ponds|duckling
penguin|penguins|bird|fish and krill|the southern oceans|chick
ostrich|ostriches|bird|plants and seeds|the savanna|chick
flamingo|flamingos|bird|shrimp and algae|salty lakes|chick
hummingbird|hummingbirds|bird|nectar|gardens and forests in the Americas|chick
parrot|parrots|bird|seeds, nuts and fruit|tropical forests|chick
woodpecker|woodpeckers|bird|insects under bark|woods|chick
stork|storks|bird|frogs and insects|wet meadows|chick
crocodile|crocodiles|reptile|fish and mammals|tropical rivers|hatchling
tortoise|tortoises|reptile|leaves and grass|dry land|hatchling
chameleon|chameleons|reptile|insects|trees in Africa and Madagascar|hatchling
cobra|cobras|reptile|rats and frogs|warm parts of Asia and Africa|hatchling
frog|frogs|amphibian|insects|ponds and wet grass|tadpole
salamander|salamanders|amphibian|worms and insects|damp forests|larva
salmon|salmon|fish|small fish and shrimp|rivers and the sea|fry
eel|eels|fish|worms and small fish|rivers and the sea|elver
honeybee|honeybees|insect|nectar and pollen|hives|larva
butterfly|butterflies|insect|nectar|meadows|caterpillar
mosquito|mosquitoes|insect|plant juice and blood|wet places|larva
octopus|octopuses|mollusc|crabs|the sea floor|paralarva
""")

FOODS = table("name origin ingredient", """
sushi|Japan|rice
paella|Spain|rice
risotto|Italy|rice
hummus|the Middle East|chickpeas
falafel|the Middle East|chickpeas
guacamole|Mexico|avocado
goulash|Hungary|beef and paprika
borscht|Ukraine|beetroot
kimchi|Korea|cabbage
sauerkraut|Germany|cabbage
moussaka|Greece|aubergine
tzatziki|Greece|yogurt and cucumber
feta|Greece|sheep's milk
ratatouille|France|vegetables
bouillabaisse|France|fish
fondue|Switzerland|cheese
tofu|China|soybeans
tempeh|Indonesia|soybeans
polenta|Italy|maize
tortilla|Mexico|maize
gazpacho|Spain|tomatoes
couscous|North Africa|wheat
tiramisu|Italy|coffee and cream cheese
marzipan|Europe|almonds
baklava|Turkey|nuts and thin pastry
haggis|Scotland|the heart and liver of a sheep
ceviche|Peru|raw fish
feijoada|Brazil|black beans
pho|Vietnam|noodles
tequila|Mexico|agave
sake|Japan|rice
ouzo|Greece|anise
cider|Europe|apples
mead|Europe|honey
""")

SPORTS = table("name players gear place", """
football|eleven|a round ball|a pitch
cricket|eleven|a bat and a hard ball|an oval field
baseball|nine|a bat and a glove|a diamond
basketball|five|a large ball and a high hoop|a court
volleyball|six|a light ball and a net|a court
handball|seven|a small ball|a hall
water polo|seven|a ball that floats|a pool
ice hockey|six|sticks and a puck|a rink
lacrosse|ten|sticks with nets|a field
rugby union|fifteen|an oval ball|a pitch
polo|four|horses and mallets|a large field
curling|four|heavy stones and brooms|a sheet of ice
badminton|one or two|a racket and a shuttlecock|a court
table tennis|one or two|a small bat and a light ball|a table
squash|one|a racket and a rubber ball|a court with walls
golf|one|clubs and a small ball|a course
fencing|one|a foil, an epee or a sabre|a long strip
snooker|one|a cue and coloured balls|a table with pockets
bowling|one|a heavy ball and ten pins|a lane
archery|one|a bow and arrows|a range
chess|one|thirty-two pieces|a board of squares
judo|one|a white or blue suit|a mat
""")

ABBREVIATIONS = table("name expansion field", """
WHO|World Health Organization|health
UNESCO|United Nations Educational, Scientific and Cultural Organization|culture
UNICEF|United Nations International Children's Emergency Fund|children
NATO|North Atlantic Treaty Organization|defence
OPEC|Organization of the Petroleum Exporting Countries|oil
NASA|National Aeronautics and Space Administration|space flight
ESA|European Space Agency|space flight
FBI|Federal Bureau of Investigation|crime
CIA|Central Intelligence Agency|intelligence
IMF|International Monetary Fund|money
WTO|World Trade Organization|trade
IOC|International Olympic Committee|sport
NBA|National Basketball Association|sport
BBC|British Broadcasting Corporation|broadcasting
CNN|Cable News Network|broadcasting
HTML|Hypertext Markup Language|computing
HTTP|Hypertext Transfer Protocol|computing
URL|Uniform Resource Locator|computing
CPU|central processing unit|computing
GPU|graphics processing unit|computing
RAM|random access memory|computing
ROM|read-only memory|computing
USB|Universal Serial Bus|computing
PDF|Portable Document Format|computing
SQL|Structured Query Language|computing
LAN|local area network|computing
VPN|virtual private network|computing
ATM|automated teller machine|banking
PIN|personal identification number|banking
GDP|gross domestic product|economics
VAT|value-added tax|economics
DNA|deoxyribonucleic acid|biology
AIDS|acquired immunodeficiency syndrome|medicine
MRI|magnetic resonance imaging|medicine
ECG|electrocardiogram|medicine
GPS|Global Positioning System|navigation
LED|light-emitting diode|electronics
LCD|liquid-crystal display|electronics
DVD|digital versatile disc|electronics
UFO|unidentified flying object|aviation
VIP|very important person|everyday life
DIY|do it yourself|everyday life
RSVP|repondez s'il vous plait|invitations
FAQ|frequently asked questions|everyday life
ETA|estimated time of arrival|travel
CFO|chief financial officer|business
MBA|Master of Business Administration|education
PhD|Doctor of Philosophy|education
SUV|sport utility vehicle|transport
mph|miles per hour|transport
rpm|revolutions per minute|engineering
AM|amplitude modulation|radio
""")

EVENTS = table("name year place", """
the Battle of Hastings|1066|England
the signing of Magna Carta|1215|England
the fall of Constantinople|1453|Turkey
the Spanish Armada|1588|the English Channel
the Thirty Years' War|1618|central Europe
the Great Fire of London|1666|England
the Boston Tea Party|1773|Massachusetts
the French Revolution|1789|France
the Battle of Trafalgar|1805|the coast of Spain
the Battle of Waterloo|1815|Belgium
the Crimean War|1853|Crimea
the Battle of Gettysburg|1863|Pennsylvania
the Franco-Prussian War|1870|France
the Boer War|1899|southern Africa
the San Francisco earthquake|1906|California
the Mexican Revolution|1910|Mexico
the Russian Revolution|1917|Russia
the Wall Street Crash|1929|New York
the Spanish Civil War|1936|Spain
the Hindenburg disaster|1937|New Jersey
the attack on Pearl Harbor|1941|Hawaii
the Battle of Stalingrad|1942|Russia
the Korean War|1950|Korea
the Cuban Missile Crisis|1962|Cuba
the Woodstock festival|1969|the state of New York
the Chernobyl accident|1986|Ukraine
the Velvet Revolution|1989|Czechoslovakia
the fall of the Berlin Wall|1989|Germany
""")

UNITS = table("name plural small count", """
foot|feet|inches|12
yard|yards|feet|3
mile|miles|yards|1,760
kilometre|kilometres|metres|1,000
pound|pounds|ounces|16
stone|stones|pounds|14
gallon|gallons|pints|8
decade|decades|years|10
fortnight|fortnights|days|14
week|weeks|hours|168
hour|hours|seconds|3,600
byte|bytes|bits|8
right angle|right angles|degrees|90
tonne|tonnes|kilograms|1,000
litre|litres|millilitres|1,000
hectare|hectares|square metres|10,000
fathom|fathoms|feet|6
furlong|furlongs|yards|220
""")

# Plain lists for questions that need no table; one line of text holds one kind, its members divided by `;`.
LISTS = {
    "concept": (
        "photosynthesis; inflation; osmosis; erosion; democracy; evolution; nuclear fission; plate "
        "tectonics; global warming; hypnosis; acupuncture; fermentation; pasteurization; capitalism; "
        "existentialism; surrealism; impressionism; feudalism; artificial intelligence; cryptography; "
        "genetic engineering; radiocarbon dating; natural selection; superconductivity; relativity; "
        "entropy; metamorphosis; pollination; condensation; stoicism; reincarnation; meditation; "
        "bankruptcy; jet lag; perspective; the placebo effect; the greenhouse effect; the butterfly "
        "effect; the Doppler effect; the Big Bang; the water cycle; deja vu; feng shui; compound interest"
    ),
    "device": (
        "refrigerator; lighthouse; submarine; laser printer; touch screen; smoke detector; combination "
        "lock; solar panel; wind turbine; hydraulic brake; speedometer; metal detector; periscope; "
        "parachute; hearing aid; pacemaker; light bulb; fire extinguisher; water mill; steam engine; "
        "loudspeaker; kaleidoscope; magnetic compass; fuel cell; lie detector; hovercraft; escalator; "
        "toaster; gyroscope; bar code"
    ),
    "material": (
        "glass; paper; cement; soap; steel; silk; rubber; porcelain; leather; plywood; ink; charcoal; "
        "chocolate; cheese; butter; yogurt; vinegar; maple syrup; olive oil; beer; champagne; whisky; "
        "bread; salt; sugar; candle wax; wool; linen; parchment; concrete"
    ),
    "phenomenon": (
        "earthquakes; tides; thunder; lightning; hurricanes; tornadoes; avalanches; the seasons; the "
        "northern lights; solar eclipses; tsunamis; fog; hail; mirages; sandstorms; hiccups; headaches; "
        "seasickness; snoring; goosebumps; rust; acid rain; landslides; sunspots; tooth decay; dandruff; "
        "static electricity; color blindness; morning dew; quicksand"
    ),
    "task": (
        "tie a bow tie; sharpen a kitchen knife; change a flat tire; plant a fruit tree; fold a paper "
        "crane; poach an egg; remove a red wine stain; read a weather map; build a birdhouse; bake "
        "sourdough; knit a scarf; write a haiku; calculate an average; tune a banjo; train a puppy; pitch "
        "a tent; make a snow cave; descale a kettle; mend a puncture; polish shoes; carve a pumpkin; brew "
        "green tea; grow tomatoes; draw a perfect circle; start a campfire; iron a shirt; dry flowers; "
        "juggle three balls; pick a lock; apply for a patent"
    ),
    "word": (
        "serendipity; ephemeral; ubiquitous; quixotic; lackadaisical; gregarious; obstreperous; "
        "melancholy; nostalgia; sanguine; taciturn; verbose; zeitgeist; hubris; nemesis; bureaucracy; "
        "kindergarten; robot; algorithm; sandwich; boycott; quarantine; salary; muscle; disaster; window; "
        "clue; galaxy; vaccine; denim"
    ),
    "adjective": (
        "ephemeral; ubiquitous; quixotic; lackadaisical; gregarious; obstreperous; sanguine; taciturn; "
        "verbose; happy; brave; lazy; stubborn; generous; ancient; enormous; fragile; cautious; clumsy; "
        "humble; loyal; rapid; weary; gloomy; eager; polite"
    ),
    "product": (
        "tractors; chocolate bars; sneakers; jeans; watches; cameras; razors; light bulbs; washing "
        "machines; video games; fountain pens; lawn mowers; guitars; ball bearings; cash registers; "
        "tires; skis; ice cream; vacuum cleaners; headphones; jet planes; elevators; matches; paper "
        "towels; cornflakes; umbrellas"
    ),
    "saying": (
        "kick the bucket; break the ice; spill the beans; bite the bullet; let the cat out of the bag; a "
        "piece of cake; under the weather; once in a blue moon; cost an arm and a leg; the whole nine "
        "yards; beat around the bush; burn the midnight oil; a white elephant; the last straw; red tape; "
        "rule of thumb; cold turkey; a wild goose chase; raining cats and dogs; crocodile tears; pull "
        "someone's leg; turn a blind eye"
    ),
    "pair": (
        "a comet and an asteroid; a butterfly and a moth; an alligator and a crocodile; jam and "
        "marmalade; a frog and a toad; weather and climate; mass and weight; a violin and a viola; a "
        "simile and a metaphor; stalactites and stalagmites; a llama and an alpaca; fog and mist; a "
        "symphony and a concerto; latitude and longitude; baking soda and baking powder; a virus and a "
        "bacterium; arteries and veins; a rabbit and a hare; igneous and sedimentary rock; an acid and a "
        "base; speed and velocity; a senator and a governor; a ship and a boat; envy and jealousy"
    ),
    "habit": (
        "cats purr; wolves howl; geese fly in a V; salmon swim upstream; owls turn their heads; zebras "
        "have stripes; flamingos stand on one leg; moths fly toward lamps; whales sing; camels have "
        "humps; snakes shed their skin; leaves change color in autumn; onions make people cry; stars "
        "twinkle; people yawn; babies cry; fingernails grow; bubbles burst; boats float; mosquito bites "
        "itch; bats hang upside down; hens cluck; fireflies glow; sunflowers turn toward the sun; men "
        "grow beards; golf balls have dimples; flags fly at half-mast; judges wear robes; old books "
        "smell; knuckles crack; chameleons change color; ducks have webbed feet"
    ),
    "holiday": (
        "Halloween; Thanksgiving; Diwali; Hanukkah; Ramadan; Easter; May Day; Groundhog Day; Valentine's "
        "Day; Bastille Day; Saint Patrick's Day; Chinese New Year; Kwanzaa; Holi; Passover; Boxing Day; "
        "Mardi Gras; Oktoberfest; Independence Day; Labor Day"
    ),
    "disease": (
        "malaria; measles; tuberculosis; scurvy; smallpox; cholera; diabetes; asthma; polio; gout; "
        "rabies; leprosy; tetanus; anemia; influenza; chickenpox; hepatitis; pneumonia; yellow fever; "
        "arthritis; hay fever; rickets"
    ),
    "planet": (
        "Mercury; Venus; Mars; Jupiter; Saturn; Uranus; Neptune"
    ),
    "instrument": (
        "violin; cello; harp; banjo; mandolin; clarinet; oboe; bassoon; trumpet; tuba; accordion; "
        "bagpipe; xylophone; kettledrum; harpsichord; sitar; ukulele; harmonica; didgeridoo; tambourine; "
        "church organ; flute"
    ),
    "flower": (
        "rose; tulip; orchid; sunflower; daffodil; lavender; lily; jasmine; carnation; poppy; daisy; "
        "violet; marigold; hibiscus; lotus; edelweiss"
    ),
    "thing": (
        "ripe banana; school bus in America; ruby; emerald; sapphire; topaz; amethyst; pea; carrot; "
        "raspberry; London taxi; robin's egg; fire engine; stop sign; flamingo feather; lobster before "
        "cooking; blueberry; lemon; polar bear's skin; giraffe's tongue; pistachio; eggplant"
    ),
    "good": (
        "postage stamp to Europe; new bicycle; loaf of bread; movie ticket; barrel of oil; wedding ring; "
        "passport; grand piano; driving licence; ticket to the opera; pair of skis; haircut; gallon of "
        "milk; space suit; hearing aid; racehorse; parking ticket; satellite; sailing boat; kilo of "
        "saffron; one-way trip on the subway; tennis racket"
    ),
    "tongue": (
        "Latin; Sanskrit; Aramaic; Gaelic; Yiddish; Quechua; Basque; Welsh; Maori; Esperanto; Old Norse; "
        "Coptic; Catalan; Zulu; Tamil; Tagalog; Sumerian; Cornish"
    ),
    "athlete": (
        "Pele; Serena Williams; Michael Jordan; Wayne Gretzky; Tiger Woods; Diego Maradona; Roger "
        "Federer; Bobby Fischer; Nadia Comaneci; Usain Bolt; Michael Phelps; Ayrton Senna; Eddy Merckx; "
        "Bjorn Borg; Don Bradman; Joe Louis; Sonja Henie; Larry Bird; Steffi Graf; Mia Hamm; Garry "
        "Kasparov; Greg Louganis"
    ),
    "musician": (
        "Louis Armstrong; Miles Davis; John Coltrane; Jimi Hendrix; Niccolo Paganini; Ravi Shankar; Yo-Yo "
        "Ma; Charlie Parker; Benny Goodman; Dizzy Gillespie; Duke Ellington; Ringo Starr; Andres Segovia; "
        "Pablo Casals; Art Tatum; Django Reinhardt; Glenn Gould; Yehudi Menuhin; Buddy Rich; Itzhak "
        "Perlman"
    ),
    "character": (
        "Sherlock Holmes; James Bond; Winnie the Pooh; Mary Poppins; Hercule Poirot; Tarzan; Pinocchio; "
        "Superman; Batman; Peter Pan; Indiana Jones; Luke Skywalker; Harry Potter; Hamlet; Macbeth; "
        "Zorro; Captain Nemo; Huckleberry Finn; Snow White; Oliver Twist; Othello; Charlie Brown"
    ),
    "god": (
        "love; thunder; wine; wisdom; hunting; the underworld; dreams; agriculture; the harvest; "
        "marriage; fire; sleep; victory; trade"
    ),
    "group": (
        "the Beatles; the Rolling Stones; Pink Floyd; Queen; Abba; the Beach Boys; Led Zeppelin; the "
        "Doors; Nirvana; Genesis; the Supremes; the Who; Metallica; Kraftwerk; the Monkees; U2"
    ),
    "work": (
        "repairs shoes; studies fossils; makes barrels; studies insects; collects stamps; sells flowers; "
        "shoes horses; makes maps; predicts the weather; treats animals; designs bridges; stuffs animals; "
        "studies handwriting; keeps bees; conducts an orchestra; fits eyeglasses; sells meat; flies a "
        "spacecraft; digs for ancient ruins; mends clocks; takes care of teeth; referees boxing matches"
    ),
    "record": (
        "climb Mount Everest; swim across the English Channel; run a mile in under four minutes; walk in "
        "space; sail alone around the world; reach the North Pole; fly faster than sound; win two Nobel "
        "Prizes; win an Academy Award; go over Niagara Falls in a barrel; orbit the earth; cross "
        "Antarctica on foot; receive a heart transplant; appear on a postage stamp; cross the Pacific in "
        "a balloon; break the sound barrier; split the atom; circle the globe by bicycle; translate the "
        "Bible into German; photograph a snowflake"
    ),
    "attraction": (
        "coral reefs; active volcanoes; giant redwoods; hot springs; Mayan ruins; wild horses; Gothic "
        "cathedrals; cave paintings; sand dunes; tulip fields; ancient pyramids; fjords; ice hotels; "
        "bullfights; rice terraces; diamond mines; geysers; covered bridges; mangrove swamps; vineyards"
    ),
    "purpose": (
        "cut wood; measure angles; tighten bolts; drive nails; weigh letters; dig holes; mow lawns; peel "
        "potatoes; crack nuts; open bottles; whisk eggs; shear sheep; look at distant stars; drill teeth; "
        "press flowers; measure wind speed; lift heavy cars; spread butter; trim hedges; catch "
        "butterflies; grind coffee; stir paint"
    ),
    "feature": (
        "the longest neck; a pouch for its young; the loudest voice; three hearts; blue blood; no "
        "backbone; the best sense of smell; the longest life; eight arms; the sharpest eyesight; a trunk; "
        "venomous fangs; the thickest fur; two humps; black and white stripes; the widest wings; a "
        "poisonous skin; an extra thumb; the largest eggs; the biggest eyes"
    ),
    "subject": (
        "earthquakes; rocks; plants; the mind; old coins; birds; languages; the stars; poisons; the past; "
        "numbers; the oceans; fungi; glaciers; dreams; volcanoes; caves; bones"
    ),
}

PLAIN: dict[str, list[str]] = {kind: text.split("; ") for kind, text in LISTS.items()}

TABLES: dict[str, list[Row]] = {
    "country": COUNTRIES, "city": CITIES, "river": RIVERS,
    "mountain": MOUNTAINS, "island": ISLANDS, "landmark": LANDMARKS,
    "book": BOOKS, "painting": PAINTINGS, "music": MUSIC, "film": FILMS,
    "invention": INVENTIONS, "person": PEOPLE, "company": COMPANIES,
    "element": ELEMENTS, "animal": ANIMALS, "food": FOODS, "sport": SPORTS,
    "abbr": ABBREVIATIONS, "event": EVENTS, "unit": UNITS,
}  # fmt: skip
