include_guard(GLOBAL)

# um_embed(<target> <name> <file>): puts the bytes of a file into a target as
#     extern const unsigned char um_embedded_<name>[];   a NUL follows the last byte
#     extern const size_t um_embedded_<name>_len;        the NUL not counted
# (base/embed.h declares both). The assembler copies the file, so its size costs no build time.
function(um_embed target name file)
    get_filename_component(path ${file} ABSOLUTE BASE_DIR ${CMAKE_SOURCE_DIR})
    set(source ${CMAKE_CURRENT_BINARY_DIR}/um_embedded_${name}.c)
    set(symbol um_embedded_${name})
    file(CONFIGURE OUTPUT ${source} @ONLY CONTENT [[
__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        ".globl @symbol@\n"
        ".type @symbol@, STT_OBJECT\n"
        "@symbol@:\n"
        ".incbin \"@path@\"\n"
        ".set @symbol@_size, . - @symbol@\n"
        ".size @symbol@, @symbol@_size\n"
        ".byte 0\n"
        ".balign 8\n"
        ".globl @symbol@_len\n"
        ".type @symbol@_len, STT_OBJECT\n"
        ".size @symbol@_len, 8\n"
        "@symbol@_len:\n"
        ".8byte @symbol@_size\n"
        ".popsection\n");
]])
    set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${path})
    target_sources(${target} PRIVATE ${source})
endfunction()
