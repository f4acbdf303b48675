"""Operations of the project's own, in C++: their sources, and the library that is made of them."""
