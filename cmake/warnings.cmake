add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wpointer-arith -Wundef
                    -Wvla -Wformat=2 -fno-common)
add_compile_options("$<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>")
if(UM_WERROR)
    add_compile_options(-Werror)
endif()
if(UM_SANITIZE)
    add_compile_options(-fsanitize=${UM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${UM_SANITIZE})
else()
    # Hardening; _FORTIFY_SOURCE needs optimisation and quarrels with the sanitizers.
    add_compile_options(-fstack-protector-strong)
    add_link_options(-Wl,-z,relro,-z,now)
    if(CMAKE_BUILD_TYPE STREQUAL "Release")
        add_compile_definitions(_FORTIFY_SOURCE=3)
    endif()
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
# Floating point as written: results must not depend on the compiler's mood. Kernels that use FMA
# say so themselves.
add_compile_options(-ffp-contract=off)
