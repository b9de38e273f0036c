%0 = load ptr, ptr %1
%2 = load ptr, ptr %3
%4 = load <16 x float>, ptr %2, align 4
%5 = getelementptr inbounds float, ptr %2, i64 16
%6 = load <16 x float>, ptr %5, align 4
%7 = load float, ptr %0, align 4
%8 = insertelement <16 x float> undef, float %7, i32 0
%9 = shufflevector <16 x float> %8, <16 x float> undef, <16 x i32> zeros
%10 = load <16 x float>, <16 x float>* %11
%12 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %9, <16 x float> %4, <16 x float> %10)
store <16 x float> %12, <16 x float>* %11
%13 = load <16 x float>, <16 x float>* %14
%15 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %9, <16 x float> %6, <16 x float> %13)
store <16 x float> %15, <16 x float>* %14
%16 = getelementptr inbounds float, ptr %0, i64 64
%17 = load float, ptr %16, align 4
%18 = insertelement <16 x float> undef, float %17, i32 0
%19 = shufflevector <16 x float> %18, <16 x float> undef, <16 x i32> zeros
%20 = load <16 x float>, <16 x float>* %21
%22 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %19, <16 x float> %4, <16 x float> %20)
store <16 x float> %22, <16 x float>* %21
%23 = load <16 x float>, <16 x float>* %24
%25 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %19, <16 x float> %6, <16 x float> %23)
store <16 x float> %25, <16 x float>* %24
%26 = getelementptr inbounds float, ptr %0, i64 128
%27 = load float, ptr %26, align 4
%28 = insertelement <16 x float> undef, float %27, i32 0
%29 = shufflevector <16 x float> %28, <16 x float> undef, <16 x i32> zeros
%30 = load <16 x float>, <16 x float>* %31
%32 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %29, <16 x float> %4, <16 x float> %30)
store <16 x float> %32, <16 x float>* %31
%33 = load <16 x float>, <16 x float>* %34
%35 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %29, <16 x float> %6, <16 x float> %33)
store <16 x float> %35, <16 x float>* %34
%36 = getelementptr inbounds float, ptr %0, i64 192
%37 = load float, ptr %36, align 4
%38 = insertelement <16 x float> undef, float %37, i32 0
%39 = shufflevector <16 x float> %38, <16 x float> undef, <16 x i32> zeros
%40 = load <16 x float>, <16 x float>* %41
%42 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %39, <16 x float> %4, <16 x float> %40)
store <16 x float> %42, <16 x float>* %41
%43 = load <16 x float>, <16 x float>* %44
%45 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %39, <16 x float> %6, <16 x float> %43)
store <16 x float> %45, <16 x float>* %44
%46 = getelementptr inbounds float, ptr %0, i64 256
%47 = load float, ptr %46, align 4
%48 = insertelement <16 x float> undef, float %47, i32 0
%49 = shufflevector <16 x float> %48, <16 x float> undef, <16 x i32> zeros
%50 = load <16 x float>, <16 x float>* %51
%52 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %49, <16 x float> %4, <16 x float> %50)
store <16 x float> %52, <16 x float>* %51
%53 = load <16 x float>, <16 x float>* %54
%55 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %49, <16 x float> %6, <16 x float> %53)
store <16 x float> %55, <16 x float>* %54
%56 = getelementptr inbounds float, ptr %0, i64 320
%57 = load float, ptr %56, align 4
%58 = insertelement <16 x float> undef, float %57, i32 0
%59 = shufflevector <16 x float> %58, <16 x float> undef, <16 x i32> zeros
%60 = load <16 x float>, <16 x float>* %61
%62 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %59, <16 x float> %4, <16 x float> %60)
store <16 x float> %62, <16 x float>* %61
%63 = load <16 x float>, <16 x float>* %64
%65 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %59, <16 x float> %6, <16 x float> %63)
store <16 x float> %65, <16 x float>* %64
%66 = getelementptr inbounds float, ptr %0, i64 384
%67 = load float, ptr %66, align 4
%68 = insertelement <16 x float> undef, float %67, i32 0
%69 = shufflevector <16 x float> %68, <16 x float> undef, <16 x i32> zeros
%70 = load <16 x float>, <16 x float>* %71
%72 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %69, <16 x float> %4, <16 x float> %70)
store <16 x float> %72, <16 x float>* %71
%73 = load <16 x float>, <16 x float>* %74
%75 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %69, <16 x float> %6, <16 x float> %73)
store <16 x float> %75, <16 x float>* %74
%76 = getelementptr inbounds float, ptr %0, i64 448
%77 = load float, ptr %76, align 4
%78 = insertelement <16 x float> undef, float %77, i32 0
%79 = shufflevector <16 x float> %78, <16 x float> undef, <16 x i32> zeros
%80 = load <16 x float>, <16 x float>* %81
%82 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %79, <16 x float> %4, <16 x float> %80)
store <16 x float> %82, <16 x float>* %81
%83 = load <16 x float>, <16 x float>* %84
%85 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %79, <16 x float> %6, <16 x float> %83)
store <16 x float> %85, <16 x float>* %84
%86 = getelementptr inbounds float, ptr %0, i64 512
%87 = load float, ptr %86, align 4
%88 = insertelement <16 x float> undef, float %87, i32 0
%89 = shufflevector <16 x float> %88, <16 x float> undef, <16 x i32> zeros
%90 = load <16 x float>, <16 x float>* %91
%92 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %89, <16 x float> %4, <16 x float> %90)
store <16 x float> %92, <16 x float>* %91
%93 = load <16 x float>, <16 x float>* %94
%95 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %89, <16 x float> %6, <16 x float> %93)
store <16 x float> %95, <16 x float>* %94
%96 = getelementptr inbounds float, ptr %0, i64 576
%97 = load float, ptr %96, align 4
%98 = insertelement <16 x float> undef, float %97, i32 0
%99 = shufflevector <16 x float> %98, <16 x float> undef, <16 x i32> zeros
%100 = load <16 x float>, <16 x float>* %101
%102 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %99, <16 x float> %4, <16 x float> %100)
store <16 x float> %102, <16 x float>* %101
%103 = load <16 x float>, <16 x float>* %104
%105 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %99, <16 x float> %6, <16 x float> %103)
store <16 x float> %105, <16 x float>* %104
%106 = getelementptr inbounds float, ptr %0, i64 640
%107 = load float, ptr %106, align 4
%108 = insertelement <16 x float> undef, float %107, i32 0
%109 = shufflevector <16 x float> %108, <16 x float> undef, <16 x i32> zeros
%110 = load <16 x float>, <16 x float>* %111
%112 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %109, <16 x float> %4, <16 x float> %110)
store <16 x float> %112, <16 x float>* %111
%113 = load <16 x float>, <16 x float>* %114
%115 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %109, <16 x float> %6, <16 x float> %113)
store <16 x float> %115, <16 x float>* %114
%116 = getelementptr inbounds float, ptr %0, i64 704
%117 = load float, ptr %116, align 4
%118 = insertelement <16 x float> undef, float %117, i32 0
%119 = shufflevector <16 x float> %118, <16 x float> undef, <16 x i32> zeros
%120 = load <16 x float>, <16 x float>* %121
%122 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %119, <16 x float> %4, <16 x float> %120)
store <16 x float> %122, <16 x float>* %121
%123 = load <16 x float>, <16 x float>* %124
%125 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %119, <16 x float> %6, <16 x float> %123)
store <16 x float> %125, <16 x float>* %124
%126 = getelementptr inbounds float, ptr %0, i64 768
%127 = load float, ptr %126, align 4
%128 = insertelement <16 x float> undef, float %127, i32 0
%129 = shufflevector <16 x float> %128, <16 x float> undef, <16 x i32> zeros
%130 = load <16 x float>, <16 x float>* %131
%132 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %129, <16 x float> %4, <16 x float> %130)
store <16 x float> %132, <16 x float>* %131
%133 = load <16 x float>, <16 x float>* %134
%135 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %129, <16 x float> %6, <16 x float> %133)
store <16 x float> %135, <16 x float>* %134
%136 = getelementptr inbounds float, ptr %0, i64 832
%137 = load float, ptr %136, align 4
%138 = insertelement <16 x float> undef, float %137, i32 0
%139 = shufflevector <16 x float> %138, <16 x float> undef, <16 x i32> zeros
%140 = load <16 x float>, <16 x float>* %141
%142 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %139, <16 x float> %4, <16 x float> %140)
store <16 x float> %142, <16 x float>* %141
%143 = load <16 x float>, <16 x float>* %144
%145 = call <16 x float> @"llvm.fma.v16f32"(<16 x float> %139, <16 x float> %6, <16 x float> %143)
store <16 x float> %145, <16 x float>* %144
%146 = getelementptr inbounds float, ptr %0, i64 1
store ptr %146, ptr %1
%147 = getelementptr inbounds float, ptr %2, i64 32
store ptr %147, ptr %3
%148 = add nsw i64 %149, 1
store i64 %148, i64* %150
br label %151
