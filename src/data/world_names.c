/* world_names.c - the words of the synthetic world; every title is invented. */
#include <stdlib.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/world_model.h"

#define WORDS       64
#define FIRST_WORDS 26 /* a small world uses that many of each list: a small vocabulary */

const char *const um_world_genres[UM_WORLD_GENRES] = {"fantasy", "comedy", "horror", "romance",
                                                      "western", "crime",  "war",    "mystery",
                                                      "musical", "sports"};
const char *const um_world_moods[UM_WORLD_MOODS] = {"dark", "warm", "tense", "quiet", "playful"};
const char *const um_world_ages[UM_WORLD_AGES] = {"18-24", "25-34", "35-44", "45-54", "55+"};
const char *const um_world_regions[UM_WORLD_REGIONS] = {"north", "south", "coast", "city"};

static const char *const first_words[WORDS] = {
    "Silent",   "Iron",     "Golden",  "Broken",    "Hidden", "Crimson",   "Distant", "Frozen",
    "Little",   "Last",     "Wild",    "Paper",     "Empty",  "Velvet",    "Stone",   "Electric",
    "Lonely",   "Burning",  "Second",  "Northern",  "Hollow", "Bright",    "Lost",    "Secret",
    "Winter",   "Copper",   "Quiet",   "Scarlet",   "Bitter", "Gentle",    "Hungry",  "Marble",
    "Midnight", "Painted",  "Patient", "Restless",  "Rusty",  "Sacred",    "Salted",  "Seven",
    "Shallow",  "Sleeping", "Smoky",   "Southern",  "Stolen", "Sudden",    "Tender",  "Third",
    "Timid",    "Twin",     "Unseen",  "Vanishing", "Violet", "Wandering", "Weary",   "White",
    "Willow",   "Wooden",   "Woven",   "Yellow",    "Young",  "Ancient",   "Amber",   "Ashen"};

static const char *const second_words[WORDS] = {
    "Harbor",  "Tide",     "River",   "Garden",   "Letter",   "Road",   "Crown",   "Shadow",
    "Summer",  "Bridge",   "Station", "Island",   "Promise",  "Valley", "Mirror",  "Engine",
    "Lantern", "Orchard",  "Signal",  "Window",   "Frontier", "Echo",   "Castle",  "Market",
    "Voyage",  "Dream",    "Anchor",  "Answer",   "Arrow",    "Bell",   "Border",  "Candle",
    "Canyon",  "Carnival", "Chapel",  "Circle",   "Cradle",   "Desert", "Door",    "Ember",
    "Feather", "Field",    "Forest",  "Fountain", "Ghost",    "Hotel",  "Journey", "Kitchen",
    "Ladder",  "Lake",     "Meadow",  "Morning",  "Museum",   "Needle", "Ocean",   "Palace",
    "Parade",  "Prairie",  "Quarry",  "Railway",  "Ribbon",   "Storm",  "Theater", "Tower"};

um_status um_world_titles(char ***titles, um_arena *arena, uint64_t seed, uint32_t n, um_error *err)
{
    um_status status = UM_OK;
    um_str text = UM_STR_INIT;
    /* Two words while pairs suffice, else three; each code is a different title. */
    uint32_t words = FIRST_WORDS, codes = 0;
    while (words < WORDS && words * words < n)
        words++;
    codes = words * words;
    if (codes < n)
        codes = codes * WORDS + codes;
    uint32_t *order = um_calloc(codes, sizeof *order);
    char **out = um_arena_alloc(arena, (size_t)n * sizeof *out);
    if (order == NULL || out == NULL) {
        status = um_fail_memory(err, "titles");
        goto done;
    }
    for (uint32_t i = 0; i < codes; i++)
        order[i] = i;
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_WORLD, 0, 0, 0);
    um_rng_shuffle_u32(&r, order, codes);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t pair = order[i] % (words * words), third = order[i] / (words * words);
        um_str_clear(&text);
        um_str_appendf(&text, "%s %s", first_words[pair / words], second_words[pair % words]);
        if (third > 0)
            um_str_appendf(&text, " %s", second_words[third - 1]);
        status = um_str_status(&text, err);
        if (status != UM_OK)
            goto done;
        out[i] = um_arena_strdup(arena, um_str_text(&text));
        if (out[i] == NULL) {
            status = um_fail_memory(err, "titles");
            goto done;
        }
    }
    *titles = out;
done:
    um_str_dispose(&text);
    free(order);
    return status;
}
