package clinic;

import java.util.List;
import java.util.stream.Collectors;

/** The patients of a clinic. */
final class Pets {
    private final List<String> names;

    Pets(String... names) {
        this.names = List.of(names);
    }

    /** Return those whose name has a word, one a line. */
    String find(String word) {
        return names.stream()
                .filter(name -> name.contains(word))
                .collect(Collectors.joining("\n", "", "\n"));
    }
}
